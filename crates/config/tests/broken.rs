//! What a person is told about a file that cannot be used: where, what, and what to do.

mod support;

use support::Memory;
use trunkline_config::Severity;

/// What the snippets leave out. It stands behind them, so that their lines count from 1.
const LISTEN: &str = "
[[listen]]
name = \"outside\"
protocol = \"udp\"
address = \"127.0.0.1:5060\"
";
const TRUNK: &str = "
[[trunk]]
name = \"acme\"
allow = [\"198.51.100.7\"]
[trunk.termination]
edges = [\"edge.example.net\"]
";

/// One error that a snippet must get.
#[derive(Debug)]
struct Expected {
    place: (usize, usize),
    message: &'static str,
    remedy: &'static str,
}

/// A snippet, what stands behind it, and every error it gets.
struct Case {
    snippet: String,
    behind: String,
    expected: Vec<Expected>,
}

/// Reads `broken.cases`; the file says how it is written.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("broken.cases").lines() {
        if let Some(with) = line.strip_prefix("=== ") {
            let behind = match with {
                "alone" => String::new(),
                "with a listener" => LISTEN.to_owned(),
                "with a trunk" => TRUNK.to_owned(),
                "with both" => format!("{LISTEN}{TRUNK}"),
                other => panic!("{other:?} can not stand behind a snippet"),
            };
            cases.push(Case {
                snippet: String::new(),
                behind,
                expected: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        match line.strip_prefix("--- ") {
            Some(told) => {
                let (place, words) = told.split_once(' ').unwrap();
                let (message, remedy) = words.split_once(" => ").unwrap();
                let (line, column) = place.split_once(':').unwrap();
                let place = (line.parse().unwrap(), column.parse().unwrap());
                case.expected.push(Expected {
                    place,
                    message,
                    remedy,
                });
            }
            None if line.is_empty() || line.starts_with("# ") => {}
            None => case.snippet.push_str(&format!("{line}\n")),
        }
    }
    cases
}

#[test]
fn every_fault_is_told_at_once_with_its_place_and_its_remedy() {
    let mut memory = Memory::new();
    memory.file("/etc/trunkline/short.secret", "12345\n");
    let cases = cases();
    let mut wrong = Vec::new();
    for Case {
        snippet,
        behind,
        expected,
    } in &cases
    {
        let Err(report) = memory.parse(&format!("{snippet}{behind}")) else {
            wrong.push(format!("accepted:\n{snippet}"));
            continue;
        };
        let errors: Vec<_> = report
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .collect();
        let as_expected = errors.len() == expected.len()
            && errors.iter().zip(expected).all(|(found, expected)| {
                (found.line, found.column) == expected.place
                    && found.message.contains(expected.message)
                    && found.remedy.contains(expected.remedy)
            });
        if !as_expected {
            wrong.push(format!("{snippet}expected {expected:?}\ngot\n{report}"));
        }
    }
    let failed = wrong.len();
    assert!(
        wrong.is_empty(),
        "\n{}\n{failed} of {}",
        wrong.join("\n=======\n"),
        cases.len()
    );
    assert!(cases.len() >= 70, "only {} cases were read", cases.len());
}

#[test]
fn a_report_can_be_read_like_a_compilers() {
    let text = format!("[node]\n\tnmae = \"a\"\n{LISTEN}{TRUNK}");
    let report = Memory::new().parse(&text).unwrap_err();
    let expected = "/etc/trunkline/trunkline.toml:2:2: error: unknown key \"nmae\" in [node]; did you mean \"name\"?\n    2 | \tnmae = \"a\"\n      | \t^^^^";
    assert_eq!(report.to_string(), expected);
    assert_eq!(report.diagnostics[0].key, "node.nmae");
    assert_eq!(report.errors(), 1);
}

#[test]
fn a_secret_written_into_the_file_is_not_shown_again() {
    let text = format!(
        "{LISTEN}{TRUNK}[trunk.origination]\ntargets = [\"pbx\"]\n[trunk.disaster_recovery]\nurl = \"https://user:hunter2@dr.example/\"\nauth_token = \"hunter2\"\n"
    );
    let report = Memory::new().parse(&text).unwrap_err();
    assert_eq!(report.errors(), 2);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    let report = Memory::new()
        .parse("[trunk.disaster_recovery]\nauth_token = hunter2\n")
        .unwrap_err();
    assert!(!report.to_string().contains("hunter2"), "{report}");
}

#[test]
fn what_a_file_says_cannot_steer_the_terminal() {
    let text = format!("\"\\u001b[2J\" = 1\n'\u{7f}' = 2\n{LISTEN}{TRUNK}");
    let report = Memory::new().parse(&text).unwrap_err().to_string();
    assert!(
        report.chars().all(|c| c == '\n' || !c.is_control()),
        "{report:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = std::env::temp_dir().join("trunkline-no-such-file.toml");
    let report = trunkline_config::load(&missing).unwrap_err().to_string();
    assert!(
        report.contains("trunkline-no-such-file.toml: error: cannot read it"),
        "{report}"
    );
    let huge = " ".repeat(trunkline_config::FILE_BYTES_MAX + 1);
    let report = Memory::new().parse(&huge).unwrap_err().to_string();
    assert!(report.contains("larger than"), "{report}");
}
