//! Whatever a file holds, reading it ends, soon, with settings or with a report.

mod support;

use std::time::{Duration, Instant};

use support::Memory;

const TEXTS: [&str; 4] = [
    include_str!("contract.toml"),
    include_str!("../../../config/reference.toml"),
    include_str!("../../../config/plain-carrier.toml"),
    include_str!("../../../config/minimal.toml"),
];

/// Pieces that TOML, SIP and our own readers give a meaning.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "#",
    ".",
    "\\u0000",
    "\\",
    "-",
    "99999999999999999999",
    "1e999",
    "inf",
    "sip:[",
    ";transport=",
    "preset:",
    "é",
    "\u{feff}",
];

/// Numbers that look random and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

fn mutate(text: &mut Vec<u8>, numbers: &mut Numbers) {
    let at = numbers.below(text.len());
    let length = numbers.below(40).min(text.len() - at);
    match numbers.below(5) {
        0 => text[at] = numbers.below(256) as u8,
        1 => drop(text.drain(at..at + length)),
        2 => {
            let copy = text[at..at + length].to_vec();
            let to = numbers.below(text.len());
            text.splice(to..to, copy);
        }
        3 => {
            let piece = PIECES[numbers.below(PIECES.len())];
            text.splice(at..at, piece.bytes());
        }
        _ => text.truncate(at.max(1)),
    }
}

#[test]
fn no_mutation_of_a_good_file_makes_reading_it_panic() {
    let memory = Memory::new();
    let mut refused = 0;
    for seed in 0..2_000u64 {
        let mut numbers = Numbers(seed);
        let mut text = TEXTS[numbers.below(TEXTS.len())].as_bytes().to_vec();
        for _ in 0..=numbers.below(4) {
            mutate(&mut text, &mut numbers);
        }
        let text = String::from_utf8_lossy(&text);
        let Err(report) = memory.parse(&text) else {
            continue;
        };
        refused += 1;
        assert!(report.errors() > 0, "seed {seed}: refused without a reason");
        assert!(!report.to_string().is_empty());
        let lines = text.split('\n').count();
        for found in &report.diagnostics {
            assert!(
                found.line <= lines,
                "seed {seed}: line {} of {lines}",
                found.line
            );
            assert!(
                !found.message.is_empty() && !found.remedy.is_empty(),
                "seed {seed}: {found:?}"
            );
        }
    }
    assert!(refused > 500, "mutations hardly change anything: {refused}");
}

#[test]
fn files_made_to_cost_much_are_answered_soon() {
    let many = |count: usize, piece: &str| piece.repeat(count);
    let list = |entry: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(entry).collect::<Vec<_>>().join(",")
    };
    let texts = [
        ("brackets", many(200_000, "[")),
        ("braces", format!("a = {}", many(200_000, "{a="))),
        ("dots", format!("{} = 1", many(100_000, "a.") + "a")),
        ("quotes", many(200_000, "\"'")),
        (
            "faults on one line",
            format!(
                "trunk = [{}]",
                many(60, &format!("{{allow = [{}]}},", many(5_000, "7,")))
            ),
        ),
        (
            "keys",
            (0..20_000).map(|n| format!("key{n} = 1\n")).collect(),
        ),
        ("a long key", format!("{} = 1", many(900_000, "a"))),
        (
            "a long value",
            format!("[node]\nname = \"{}\"", many(900_000, "a")),
        ),
        ("listeners", many(20_000, "[[listen]]\nprotocol=\"udp\"\n")),
        ("trunks", many(20_000, "[[trunk]]\nname=\"a\"\n")),
        (
            "routes",
            many(20_000, "[[route]]\nmatch=\"*\"\ntrunks=[]\n"),
        ),
        (
            "networks",
            format!(
                "[pbx]\nallow = [{}]",
                list(
                    &|n| format!("\"10.{}.{}.{}\"", n / 65536, n / 256 % 256, n % 256),
                    40_000
                )
            ),
        ),
        (
            "targets",
            format!(
                "[[trunk]]\n[trunk.origination]\ntargets = [{}]",
                list(&|n| format!("\"p{n}\""), 40_000)
            ),
        ),
    ];
    let memory = Memory::new();
    for (name, text) in texts {
        let start = Instant::now();
        let report = memory.parse(&text).unwrap_err();
        let shown = report.to_string();
        // Much slack for a busy machine and an unoptimised build; what grows as a square of the file
        // would take many minutes.
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name}: {:?}",
            start.elapsed()
        );
        assert!(
            shown.len() < 200_000,
            "{name}: a report of {} bytes",
            shown.len()
        );
    }
}
