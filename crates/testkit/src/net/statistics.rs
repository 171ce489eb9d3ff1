//! Judging what was measured.

/// The value at a share of sorted values: the nearest rank.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index is an index")]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// In order, as the others want it.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The counts between which a binomial variable of `n` draws with probability `p` is, but for a share of 1% that is divided
/// evenly: the exact central 99% interval, both ends included.
pub fn binomial_interval(n: u32, p: f64) -> (u32, u32) {
    if p <= 0.0 {
        return (0, 0);
    }
    if p >= 1.0 {
        return (n, n);
    }
    let (mut below, mut low, mut high) = (0.0, None, None);
    for k in 0..=n {
        let logarithm = ln_choose(n, k) + f64::from(k) * p.ln() + f64::from(n - k) * (1.0 - p).ln();
        below += logarithm.exp();
        if low.is_none() && below >= 0.005 {
            low = Some(k);
        }
        if high.is_none() && below >= 0.995 {
            high = Some(k);
        }
    }
    (low.unwrap_or(0), high.unwrap_or(n))
}

fn ln_choose(n: u32, k: u32) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// By summing for small ones, and Stirling's series (to 1e-12) for the rest.
fn ln_factorial(n: u32) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| f64::from(i).ln()).sum();
    }
    let x = f64::from(n) + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

/// The statistic of Kolmogorov and Smirnov: the largest distance between the sample's distribution and `cdf`.
pub fn ks(sorted: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let n = sorted.len() as f64;
    let distance = |(rank, value): (usize, &f64)| {
        let expected = cdf(*value);
        (expected - rank as f64 / n).abs().max(((rank + 1) as f64 / n - expected).abs())
    };
    sorted.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// What [`ks`] exceeds in 1% of all samples of that size when the distribution is the right one (Stephens 1974).
pub fn ks_critical(n: usize) -> f64 {
    let root = (n as f64).sqrt();
    1.628 / (root + 0.12 + 0.11 / root)
}

/// Where a distribution function reaches a share, by halving.
fn inverse(cdf: impl Fn(f64) -> f64, share: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cdf(middle) < share { low = middle } else { high = middle }
    }
    low
}

/// The quantiles at even steps of a distribution that is moved and scaled so that, cut off at ±4 (netem's tables hold no more),
/// its mean is 0 and its standard deviation 1.
pub fn standard(quantile: impl Fn(f64) -> f64) -> Vec<f64> {
    const STEPS: u32 = 4096;
    let raw: Vec<f64> = (0..STEPS).map(|step| quantile((f64::from(step) + 0.5) / f64::from(STEPS))).collect();
    let (mut scale, mut shift) = (1.0, 0.0);
    let cut = |scale: f64, shift: f64| -> Vec<f64> { raw.iter().map(|value| (scale * value + shift).clamp(-4.0, 4.0)).collect() };
    for _ in 0..300 {
        let values = cut(scale, shift);
        let centre = mean(&values);
        let deviation = mean(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<_>>()).sqrt();
        (scale, shift) = (scale / deviation, (shift - centre) / deviation);
    }
    cut(scale, shift)
}

/// The inverse of the normal distribution function.
pub fn normal_quantile(share: f64) -> f64 {
    inverse(normal_cdf, share)
}

/// The inverse of the Pareto distribution function with shape 3, from 1 on. Its mean is 1.5, its deviation √3 / 2.
pub fn pareto_quantile(share: f64) -> f64 {
    (1.0 - share).powf(-1.0 / 3.0)
}

/// A quarter normal and three quarters Pareto of the same draw, each in its own deviations.
pub fn pareto_normal_quantile(share: f64) -> f64 {
    0.25 * normal_quantile(share) + 0.75 * (pareto_quantile(share) - 1.5) / (3.0_f64.sqrt() / 2.0)
}

/// The distribution of values of equal probability.
pub fn empirical_cdf(values: Vec<f64>) -> impl Fn(f64) -> f64 {
    let values = sorted(values);
    move |x| values.partition_point(|value| *value <= x) as f64 / values.len() as f64
}

/// The distribution of a table of netem (`tc`'s `*.dist` files): values of equal probability, in units of 1/8192.
pub fn table_cdf(table: &[i16]) -> impl Fn(f64) -> f64 + use<> {
    empirical_cdf(table.iter().map(|value| f64::from(*value) / 8192.0).collect())
}

/// The normal distribution: Abramowitz and Stegun 7.1.26, to 1.5e-7.
pub fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * poly * (-z * z).exp();
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// The uniform distribution between −1 and 1.
pub fn uniform_cdf(x: f64) -> f64 {
    f64::midpoint(x, 1.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_intervals_are_those_of_the_textbook() {
        // By exact fractions.
        assert_eq!(binomial_interval(2000, 0.01), (10, 32));
        assert_eq!(binomial_interval(2000, 0.1), (166, 235));
        assert_eq!(binomial_interval(2000, 0.5), (942, 1058));
        assert_eq!(binomial_interval(20, 0.3), (1, 12));
        assert_eq!((binomial_interval(5, 0.0), binomial_interval(5, 1.0)), ((0, 0), (5, 5)));
    }

    #[test]
    fn a_sample_of_the_distribution_passes_and_one_of_another_does_not() {
        let even: Vec<f64> = (0..1000).map(|i| f64::from(i) / 500.0 - 1.0).collect();
        assert!(ks(&even, uniform_cdf) < 0.002);
        assert!(ks(&even, normal_cdf) > ks_critical(1000));
        assert!((ks_critical(1000) - 0.0513).abs() < 0.0002);
    }

    #[test]
    fn distributions_have_the_values_of_the_textbook() {
        assert!((normal_cdf(1.959_964) - 0.975).abs() < 1e-6);
        assert!((normal_cdf(-1.0) - 0.158_655_3).abs() < 1e-6);
        assert!((pareto_quantile(0.5) - 2.0_f64.cbrt()).abs() < 1e-12);
        let cdf = empirical_cdf(vec![1.0, -1.0, 0.0, 0.0]);
        assert!((cdf(0.0) - 0.75).abs() < 1e-12 && cdf(-1.1).abs() < 1e-12);
    }

    #[test]
    fn standard_distributions_have_mean_0_and_deviation_1_although_they_are_cut_off() {
        for quantile in [normal_quantile, pareto_quantile, pareto_normal_quantile] {
            let values = standard(quantile);
            let variance = mean(&values.iter().map(|value| value * value).collect::<Vec<_>>());
            assert!(mean(&values).abs() < 1e-3 && (variance - 1.0).abs() < 1e-3, "{} {variance}", mean(&values));
            assert!(values.iter().all(|value| value.abs() <= 4.0));
        }
    }

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let values = sorted(vec![3.0, 1.0, 2.0, 4.0]);
        assert!((quantile(&values, 0.5) - 2.0).abs() < 1e-12 && (quantile(&values, 0.99) - 4.0).abs() < 1e-12);
        assert!((mean(&values) - 2.5).abs() < 1e-12);
    }
}
