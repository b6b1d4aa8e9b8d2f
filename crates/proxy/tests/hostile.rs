//! A whole proxy against anything in any order: see `operations`.

mod operations;

/// Each run has so many bytes: about 100 operations.
const BYTES: usize = 600;

/// SplitMix64: the same bytes for a seed for ever.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    (0..BYTES / 8).flat_map(|_| next()).collect()
}

fn runs(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let script = bytes(seed);
        if let Err(cause) = std::panic::catch_unwind(|| operations::run(&script)) {
            eprintln!(
                "seed {seed}: again with TRUNKLINE_HOSTILE_SEED={seed} cargo test -p trunkline-proxy --test hostile"
            );
            std::panic::resume_unwind(cause);
        }
    }
}

#[test]
fn no_sequence_of_messages_timers_and_losses_breaks_a_promise() {
    let first = std::env::var("TRUNKLINE_HOSTILE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    runs(first.map_or(0..300, |seed| seed..seed + 1));
}

#[test]
fn nor_does_any_other_sequence() {
    if std::env::var_os("TRUNKLINE_HOSTILE_SEED").is_none() {
        runs(1_000_000..1_000_300);
    }
}
