use super::*;

/// Names that are alike: addresses that count up, hashed as `target_id` does.
fn id(at: usize) -> u64 {
    let name = format!("sip:10.0.{}.{}", at / 250, at % 250 + 1);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn names(count: usize, weight: impl Fn(usize) -> u32) -> Vec<(u64, u32)> {
    (0..count).map(|at| (id(at), weight(at))).collect()
}

fn columns(names: &[(u64, u32)]) -> Columns {
    Columns::new(names.iter().copied())
}

/// Places by their times, all of which are made.
fn by_times(names: &[(u64, u32)], hash: u64) -> Vec<usize> {
    let key = Key::new(hash);
    let time = |(id, weight): (u64, u32)| {
        let time = key.time_before(Name::new(id, weight), f64::INFINITY);
        time.expect("none is later than ever")
    };
    let mut times: Vec<(f64, usize)> = names.iter().map(|it| time(*it)).zip(0..).collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    times.into_iter().map(|(_, at)| at).collect()
}

/// Equal; about equal; a few heavy ones; a few light ones; none that weighs anything; as far apart as can be.
const WEIGHTS: [fn(usize) -> u32; 6] = [
    |_| 100,
    |at| 10 + at as u32 % 50,
    |at| if at % 40 == 7 { 65_535 } else { 1 },
    |at| if at % 40 == 7 { 1 } else { 1000 },
    |_| 0,
    |at| 1 << (at % 17),
];

#[test]
fn turns_are_in_the_order_of_all_times() {
    for weight in WEIGHTS {
        for count in [0, 1, 2, 8, 9, 31, 32, 33, 200] {
            let names = names(count, weight);
            let columns = columns(&names);
            for hash in 0..3 {
                let turns: Vec<usize> = columns.in_turn(hash).collect();
                assert_eq!(turns, by_times(&names, hash), "{count} names, hash {hash}");
            }
        }
        let names = names(3000, weight);
        let columns = columns(&names);
        for hash in 0..20 {
            let turns: Vec<usize> = columns.in_turn(hash).take(30).collect();
            assert_eq!(turns, by_times(&names, hash)[..30], "hash {hash}");
            assert_eq!(first(hash, names.iter().copied()), Some(turns[0]));
        }
    }
}

#[test]
fn as_many_as_there_can_be_are_in_turn_too() {
    let names = names(usize::from(u16::MAX), WEIGHTS[1]);
    let columns = columns(&names);
    for hash in 0..4 {
        let turns: Vec<usize> = columns.in_turn(hash).take(30).collect();
        assert_eq!(turns, by_times(&names, hash)[..30], "hash {hash}");
    }
}

#[test]
fn shares_are_as_weights_say_however_many_names_there_are() {
    for (count, keys) in [(3, 30_000), (30, 30_000), (300, 30_000), (3000, 40_000)] {
        for weight in [WEIGHTS[0], WEIGHTS[1], |at| 1 + at as u32 % 9] {
            let names = names(count, weight);
            let columns = columns(&names);
            let whole: f64 = names.iter().map(|(_, weight)| f64::from(*weight)).sum();
            // Keys that count up, as alike as names.
            let mut turns = vec![0u32; count];
            for hash in 0..keys {
                turns[columns.in_turn(hash).next().unwrap()] += 1;
            }
            let squared: f64 = turns
                .iter()
                .zip(&names)
                .map(|(turns, (_, weight))| {
                    let due = keys as f64 * f64::from(*weight) / whole;
                    (f64::from(*turns) - due).powi(2) / due
                })
                .sum();
            // Chi-squared: as much as its degrees of freedom, and its standard deviation five times.
            let freedom = (count - 1) as f64;
            let most = freedom + 5.0 * (2.0 * freedom).sqrt();
            assert!(squared < most, "{count} names: {squared} > {most}");
        }
    }
}

#[test]
fn who_has_the_second_turn_has_nothing_to_do_with_the_first() {
    let count = 12;
    let columns = columns(&names(count, |_| 1));
    let mut pairs = vec![0u32; count * count];
    let keys = 60_000;
    for hash in 0..keys {
        let mut turns = columns.in_turn(hash);
        pairs[turns.next().unwrap() * count + turns.next().unwrap()] += 1;
    }
    let due = keys as f64 / (count * (count - 1)) as f64;
    let apart = (0..count * count).filter(|pair| pair / count != pair % count);
    let squared: f64 = apart
        .map(|pair| (f64::from(pairs[pair]) - due).powi(2) / due)
        .sum();
    let freedom = (count * (count - 1) - 1) as f64;
    assert!(
        squared < freedom + 5.0 * (2.0 * freedom).sqrt(),
        "{squared}"
    );
}

#[test]
fn a_name_that_goes_moves_its_own_turns_only() {
    for weight in WEIGHTS {
        for count in [5, 40, 1000] {
            let all = names(count, weight);
            let before = columns(&all);
            for lost in (0..count).step_by(count.div_ceil(40)) {
                let mut left = all.clone();
                left.remove(lost);
                let after = columns(&left);
                for hash in 0..50 {
                    let mut turns = before.in_turn(hash).filter(|at| *at != lost);
                    let heir = all[turns.next().unwrap()].0;
                    let now = left[after.in_turn(hash).next().unwrap()].0;
                    assert_eq!(now, heir, "{count} names without {lost}, hash {hash}");
                }
            }
        }
    }
}

#[test]
fn the_order_of_the_names_does_not_matter() {
    for weight in WEIGHTS {
        let here = names(500, weight);
        let mut there = here.clone();
        there.reverse();
        there.rotate_left(123);
        let (left, right) = (columns(&here), columns(&there));
        for hash in 0..300 {
            let one = here[left.in_turn(hash).next().unwrap()].0;
            let other = there[right.in_turn(hash).next().unwrap()].0;
            assert_eq!(one, other, "hash {hash}");
        }
    }
}
