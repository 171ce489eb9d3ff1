//! The normal distribution.

/// How much of it is below a value (Abramowitz and Stegun 1964, 26.2.17; to within 7.5e-8).
pub(super) fn below(value: f64) -> f64 {
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * value.abs());
    let density = (-value * value / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = density * B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    if value < 0.0 { above } else { 1.0 - above }
}

/// The value that a share of it is below (Wichura 1988, AS 241, PPND7; to within 1e-7 for shares of 1e-10 and more).
pub(super) fn quantile(share: f64) -> f64 {
    let ratio = |x: f64, a: &[f64], b: &[f64]| {
        let polynomial = |c: &[f64]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
        polynomial(a) / polynomial(b)
    };
    let q = share - 0.5;
    if q.abs() <= 0.425 {
        let a = [3.387_132_7, 50.434_271, 159.291_13, 59.109_374];
        let b = [1.0, 17.895_169, 78.757_757, 67.187_563];
        return q * ratio(0.180_625 - q * q, &a, &b);
    }
    let r = (-share.min(1.0 - share).ln()).sqrt();
    let value = if r <= 5.0 {
        ratio(r - 1.6, &[1.423_437_2, 2.756_815_4, 1.306_728_4, 0.170_238_21], &[1.0, 0.737_001_64, 0.120_211_32])
    } else {
        ratio(r - 5.0, &[6.657_905_2, 3.081_226_4, 0.428_682_94, 0.017_337_203], &[1.0, 0.241_978_94, 0.012_258_202])
    };
    value.copysign(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_and_its_inverse_agree_with_tables() {
        for (value, share) in [(0.0, 0.5), (1.0, 0.841_344_746), (1.959_963_985, 0.975), (-2.326_347_874, 0.01), (3.090_232_306, 0.999)] {
            assert!((below(value) - share).abs() < 1e-6, "{value}: {}", below(value));
            assert!((quantile(share) - value).abs() < 1e-5, "{share}: {}", quantile(share));
        }
    }
}
