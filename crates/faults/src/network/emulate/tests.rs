use std::collections::HashMap;

use super::*;
use crate::network::{Delay, Distribution, Loss, Rate, Reorder, Share};

const MS: Duration = Duration::from_millis(1);

fn share(probability: f64) -> Share {
    Share { probability, correlation: 0.0 }
}

fn packet(id: u64, length: u32) -> Packet {
    Packet { id, length, header: 20 }
}

fn delay(base: Duration, jitter: Duration) -> Option<Delay> {
    Some(Delay { base, jitter, correlation: 0.0, distribution: Distribution::Normal })
}

/// Everything at once.
fn rough(seed: u64) -> Shape {
    Shape {
        delay: delay(20 * MS, 5 * MS),
        loss: Some(Loss::Random(share(0.1))),
        duplicate: Some(share(0.1)),
        corrupt: Some(share(0.1)),
        reorder: Some(Reorder { share: share(0.25), gap: 5 }),
        rate: Some(Rate { bytes_per_second: 1_000_000, burst: 3000 }),
        limit: 30,
        seed,
    }
}

/// Sends packets at equal intervals, takes each as it is due, and gives fates and releases.
fn drive(emulator: &mut Emulator, count: u64, every: Duration, length: u32) -> (Vec<Fates>, Vec<Released>) {
    let (mut fates, mut released) = (Vec::new(), Vec::new());
    for id in 0..count {
        let now = every * u32::try_from(id).expect("few");
        released.extend(emulator.due(now));
        fates.push(emulator.arrive(now, packet(id, length)));
    }
    released.extend(emulator.due(Duration::MAX));
    (fates, released)
}

/// Whether a count is in the 99.9% interval of its binomial distribution.
fn is_likely(count: u64, of: u64, probability: f64) -> bool {
    let (count, of) = (count as f64, of as f64);
    (count - of * probability).abs() < 3.3 * (of * probability * (1.0 - probability)).sqrt() + 1.0
}

#[test]
fn every_packet_that_was_not_lost_leaves_once_at_its_time_and_no_other_does() {
    for seed in 0..20 {
        let mut emulator = Emulator::new(&rough(seed));
        let (fates, released) = drive(&mut emulator, 5000, MS / 2, 600);
        let mut expected = HashMap::new();
        for (id, fates) in fates.iter().enumerate() {
            for (copy, fate) in [(false, Some(fates.original)), (true, fates.copy)] {
                if let Some(Fate::Leaves { at, corrupt }) = fate {
                    expected.insert((id as u64, copy), (at, corrupt));
                }
            }
        }
        assert_eq!(released.len(), expected.len());
        for r in &released {
            assert_eq!(expected.remove(&(r.id, r.copy)), Some((r.at, r.corrupt)));
        }
        assert!(released.is_sorted_by_key(|r| r.at), "they leave by their time");
        let counts = emulator.counts();
        assert_eq!(counts.seen + counts.duplicated, counts.lost + counts.over_limit + counts.released);
        assert_eq!((counts.seen, counts.released, counts.held), (5000, released.len() as u64, 0));
        assert!(counts.over_limit > 0 && counts.most_held <= 30, "{counts:?}");
    }
}

#[test]
fn the_same_seed_has_the_same_fates_and_another_has_others() {
    let fates = |seed| drive(&mut Emulator::new(&rough(seed)), 1000, MS, 600);
    assert_eq!(fates(3), fates(3));
    assert_ne!(fates(3), fates(4));
}

#[test]
fn what_is_lost_does_not_depend_on_what_else_happens() {
    let lost = |shape: &Shape| -> Vec<bool> {
        drive(&mut Emulator::new(shape), 1000, MS, 600).0.iter().map(|f| f.original == Fate::Lost).collect()
    };
    let alone = Shape { loss: Some(Loss::Random(share(0.2))), seed: 9, ..Shape::default() };
    let with = Shape { delay: delay(10 * MS, MS), corrupt: Some(share(0.5)), limit: 1000, ..alone.clone() };
    assert_eq!(lost(&alone), lost(&with));
}

#[test]
fn shares_are_what_was_asked_for() {
    let count = 50_000;
    for probability in [0.01, 0.1, 0.5, 1.0] {
        let p = Some(share(probability));
        let shapes = [
            Shape { loss: p.map(Loss::Random), ..Shape::default() },
            Shape { duplicate: p, ..Shape::default() },
            Shape { corrupt: p, ..Shape::default() },
            Shape { delay: delay(MS, Duration::ZERO), reorder: p.map(|share| Reorder { share, gap: 1 }), limit: 100, ..Shape::default() },
        ];
        for shape in shapes {
            let mut emulator = Emulator::new(&shape);
            drive(&mut emulator, count, MS, 100);
            let c = emulator.counts();
            let happened = c.lost + c.duplicated + c.corrupted + c.reordered;
            assert!(is_likely(happened, count, probability), "{shape:?}: {c:?}");
            assert_eq!(c.over_limit, 0);
        }
    }
}

#[test]
fn a_bit_past_the_header_is_flipped_any_of_them_alike() {
    let mut emulator = Emulator::new(&Shape { corrupt: Some(share(1.0)), ..Shape::default() });
    let mut hits = [0_u64; 80];
    for id in 0..80_000 {
        let Fate::Leaves { corrupt: Some(bit), .. } = emulator.arrive(Duration::ZERO, packet(id, 30)).original else { panic!("corrupted") };
        hits[bit as usize - 160] += 1;
    }
    assert!(hits.iter().all(|count| (800..1200).contains(count)), "{hits:?}");
    // One that is all header stays whole.
    let fate = emulator.arrive(Duration::ZERO, packet(0, 20)).original;
    assert_eq!(fate, Fate::Leaves { at: Duration::ZERO, corrupt: None });
    assert_eq!(emulator.counts().corrupted, 80_000);
}

#[test]
fn order_is_kept_without_jitter_and_not_with_it() {
    let order = |jitter| {
        let shape = Shape { delay: delay(20 * MS, jitter), limit: 1000, ..Shape::default() };
        let ids = drive(&mut Emulator::new(&shape), 1000, MS, 100).1.iter().map(|r| r.id).collect::<Vec<_>>();
        ids.is_sorted()
    };
    assert!(order(Duration::ZERO));
    assert!(!order(5 * MS));
}

#[test]
fn every_fifth_packet_overtakes_where_the_gap_is_five() {
    let reorder = Some(Reorder { share: share(1.0), gap: 5 });
    let mut emulator = Emulator::new(&Shape { delay: delay(10 * MS, Duration::ZERO), reorder, limit: 100, ..Shape::default() });
    let (fates, _) = drive(&mut emulator, 20, MS, 100);
    let overtaking: Vec<usize> = fates
        .iter()
        .enumerate()
        .filter(|(id, f)| matches!(f.original, Fate::Leaves { at, .. } if at == MS * u32::try_from(*id).expect("few")))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(overtaking, [4, 9, 14, 19]);
}

#[test]
fn the_rate_is_exact_over_ten_seconds_and_never_above_its_burst() {
    for (bytes_per_second, burst) in [(125_000, 0), (125_000, 10_000), (6_250_000, 100_000)] {
        let shape = Shape { rate: Some(Rate { bytes_per_second, burst }), limit: u32::MAX, ..Shape::default() };
        let mut emulator = Emulator::new(&shape);
        // Twice as much as passes, in lumps and of different lengths.
        let (mut sizes, mut released, mut sent, mut id) = (Vec::new(), Vec::new(), 0, 0);
        for tick in 0..1000_u32 {
            let now = 10 * MS * tick;
            released.extend(emulator.due(now));
            while sent < bytes_per_second / 50 * u64::from(tick + 1) {
                let length = 60 + u32::try_from(id * 7919 % 1440).expect("short");
                emulator.arrive(now, packet(id, length));
                sizes.push(u64::from(length));
                sent += u64::from(length);
                id += 1;
            }
        }
        released.extend(emulator.due(Duration::from_secs(10)));
        assert!(released.iter().map(|r| r.id).is_sorted(), "they stay in line");
        let size = |r: &Released| sizes[usize::try_from(r.id).expect("few")];
        let passed: u64 = released.iter().map(size).sum();
        let expected = (bytes_per_second * 10 + burst) as f64;
        assert!((passed as f64 / expected - 1.0).abs() < 0.005, "{passed} {expected}");
        // Any window from just after one packet up to and with a later one.
        for (index, first) in released.iter().enumerate().step_by(released.len() / 200 + 1) {
            let mut bytes = 0;
            for later in &released[index + 1..] {
                bytes += size(later);
                let most = (later.at - first.at).as_secs_f64() * bytes_per_second as f64 + burst as f64;
                assert!(bytes as f64 <= most + 1.0, "{bytes} in {:?}", later.at - first.at);
            }
        }
    }
}

#[test]
fn one_that_may_leave_at_once_is_never_over_the_limit() {
    let mut emulator = Emulator::new(&Shape { loss: Some(Loss::Random(share(0.5))), limit: 0, ..Shape::default() });
    let (_, released) = drive(&mut emulator, 1000, MS, 100);
    assert!(released.len() > 400 && emulator.counts().over_limit == 0);
    let mut emulator = Emulator::new(&Shape { delay: delay(MS, Duration::ZERO), limit: 2, ..Shape::default() });
    let fates: Vec<Fate> = (0..3).map(|id| emulator.arrive(Duration::ZERO, packet(id, 100)).original).collect();
    assert_eq!(fates[2], Fate::OverLimit);
    assert_eq!(emulator.next_due(), Some(MS));
    assert_eq!(emulator.due(MS).count(), 2);
    assert_eq!(emulator.next_due(), None);
}

#[test]
fn where_a_packet_is_doubled_and_lost_one_passes() {
    let shape = Shape { loss: Some(Loss::Random(share(1.0))), duplicate: Some(share(1.0)), ..Shape::default() };
    let mut emulator = Emulator::new(&shape);
    let fates = emulator.arrive(Duration::ZERO, packet(1, 100));
    assert_eq!(fates, Fates { original: Fate::Leaves { at: Duration::ZERO, corrupt: None }, copy: Some(Fate::Lost) });
}
