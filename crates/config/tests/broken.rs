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

/// What is needed besides the snippet.
#[derive(Copy, Clone)]
enum With {
    Nothing,
    Listener,
    Trunk,
    Both,
}
use With::{Both, Listener, Nothing, Trunk};

/// A snippet, what stands behind it, and every error: line, column, part of the message, part of
/// the remedy.
type Case = (
    &'static str,
    With,
    &'static [(usize, usize, &'static str, &'static str)],
);

const CASES: &[Case] = &[
    // Names of keys and tables.
    (
        "[nodes]\nname = \"a\"",
        Both,
        &[(
            1,
            2,
            "unknown key \"nodes\" in the file",
            "did you mean \"node\"?",
        )],
    ),
    (
        "[node]\nnmae = \"a\"",
        Both,
        &[(
            2,
            1,
            "unknown key \"nmae\" in [node]",
            "did you mean \"name\"?",
        )],
    ),
    (
        "[log]\ncolour = true",
        Both,
        &[(2, 1, "unknown key \"colour\"", "known here: format, level")],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.terminaton]\nedges = [\"e.example\"]",
        Listener,
        &[
            (
                1,
                1,
                "neither [trunk.termination] nor [trunk.origination]",
                "add one of them",
            ),
            (
                3,
                8,
                "unknown key \"terminaton\" in [[trunk]]",
                "did you mean \"termination\"?",
            ),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e.example\"]\nresponce_timeout = \"4s\"",
        Listener,
        &[(
            5,
            1,
            "unknown key \"responce_timeout\" in [trunk.termination]",
            "did you mean \"response_timeout\"?",
        )],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = [{ uri = \"pbx\", prio = 1 }]",
        Listener,
        &[(
            4,
            27,
            "unknown key \"prio\" in a target",
            "known here: uri, from, priority, weight",
        )],
    ),
    (
        "[listen]\nprotocol = \"udp\"",
        Trunk,
        &[(
            1,
            1,
            "listen is one table",
            "double the brackets: [[listen]]",
        )],
    ),
    (
        "[[node]]\nname = \"a\"",
        Both,
        &[(1, 1, "node is a list", "expected the table [node]")],
    ),
    (
        "node = 3",
        Both,
        &[(1, 8, "node is the number 3", "expected the table [node]")],
    ),
    (
        "[admin]\naddress = \"127.0.0.1:8060\"\nadress = 1\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e.example\"]\n[trunk.termination.health]\nfail_aftre = 1",
        Listener,
        &[
            (3, 1, "unknown key \"adress\"", "did you mean \"address\"?"),
            (
                9,
                1,
                "unknown key \"fail_aftre\" in [trunk.termination.health]",
                "did you mean \"fail_after\"?",
            ),
        ],
    ),
    // Types.
    (
        "[node]\nname = 7",
        Both,
        &[(2, 8, "name is the number 7", "expected a string")],
    ),
    (
        "[node]\nworkers = \"2\"",
        Both,
        &[(
            2,
            11,
            "workers is the text \"2\"",
            "a whole number from 0 to 256",
        )],
    ),
    (
        "[node]\nworkers = 1.5",
        Both,
        &[(2, 11, "workers is the number 1.5", "a whole number")],
    ),
    (
        "[node]\nworkers = 2026-01-01",
        Both,
        &[(2, 11, "workers is a date", "a whole number")],
    ),
    (
        "[pbx]\nallow = \"10.0.0.1\"",
        Both,
        &[(
            2,
            9,
            "allow is the text \"10.0.0.1\"",
            "a list of addresses and networks in [ ]",
        )],
    ),
    (
        "[pbx]\nallow = [10]",
        Both,
        &[(
            2,
            10,
            "allow holds the number 10",
            "an address or a network in quotes",
        )],
    ),
    (
        "[node]\ndrain_timeout = true",
        Both,
        &[(2, 17, "drain_timeout is true", "a duration in quotes")],
    ),
    // Durations.
    (
        "[node]\ndrain_timeout = 30",
        Both,
        &[(
            2,
            17,
            "the number 30, which has no unit",
            "write \"30s\" or \"30ms\", with quotes",
        )],
    ),
    (
        "[node]\ndrain_timeout = \"30\"",
        Both,
        &[(2, 17, "\"30\" is no duration", "write \"30s\"")],
    ),
    (
        "[node]\ndrain_timeout = \"30 sec\"",
        Both,
        &[(2, 17, "is no duration", "a whole number and a unit")],
    ),
    (
        "[node]\ndrain_timeout = \"off\"",
        Both,
        &[(2, 17, "drain_timeout cannot be \"off\"", "write 0s to 1h")],
    ),
    (
        "[dns]\ntimeout = \"1ms\"",
        Both,
        &[(
            2,
            11,
            "timeout = \"1ms\" is out of range",
            "write 50ms to 1m",
        )],
    ),
    (
        "[health]\nprobe_interval = \"2h\"",
        Both,
        &[(2, 18, "out of range", "100ms to 1h, or \"off\"")],
    ),
    // Numbers.
    (
        "[node]\nworkers = 300",
        Both,
        &[(
            2,
            11,
            "workers = 300 is out of range",
            "a whole number from 0 to 256",
        )],
    ),
    (
        "[access]\nrate = -1",
        Both,
        &[(
            2,
            8,
            "rate = -1 is out of range",
            "a whole number from 0 to 1000000",
        )],
    ),
    (
        "[access]\nrate = 99999999999999999999999999",
        Both,
        &[(2, 8, "is out of range", "a whole number from 0 to 1000000")],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = [{ uri = \"pbx\", priority = 65536, weight = -1 }]",
        Listener,
        &[
            (4, 38, "priority = 65536 is out of range", "from 0 to 65535"),
            (4, 54, "weight = -1 is out of range", "from 0 to 65535"),
        ],
    ),
    // Words.
    (
        "[log]\nlevel = \"inof\"",
        Both,
        &[(
            2,
            9,
            "level = \"inof\" is unknown",
            "did you mean \"info\"?",
        )],
    ),
    (
        "[log]\nformat = \"yaml\"",
        Both,
        &[(
            2,
            10,
            "format = \"yaml\" is unknown",
            "write \"text\" or \"json\"",
        )],
    ),
    (
        "[access]\nunknown_source = \"ignore\"",
        Both,
        &[(2, 18, "\"ignore\" is unknown", "\"drop\" or \"reject\"")],
    ),
    // Listeners.
    (
        "",
        Trunk,
        &[(0, 0, "there is no [[listen]]", "write [[listen]]")],
    ),
    (
        "[[listen]]\naddress = \"127.0.0.1:5060\"",
        Trunk,
        &[(
            1,
            1,
            "[[listen]] has no protocol",
            "write protocol = \"udp\"",
        )],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"",
        Trunk,
        &[(
            1,
            1,
            "[[listen]] has no address",
            "write address = \"0.0.0.0:5060\"",
        )],
    ),
    (
        "[[listen]]\nprotocol = \"sctp\"\naddress = \"127.0.0.1:5060\"",
        Trunk,
        &[(2, 12, "protocol = \"sctp\" is unknown", "\"udp\", \"tcp\"")],
    ),
    (
        "[[listen]]\nprotocol = \"tls\"\naddress = \"127.0.0.1:5061\"",
        Trunk,
        &[(
            2,
            12,
            "protocol asks for tls",
            "this build speaks udp and tcp",
        )],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1\"",
        Trunk,
        &[(
            3,
            11,
            "address = \"127.0.0.1\" is no address and port",
            "add the port: \"127.0.0.1:5060\"",
        )],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"\naddress = \"localhost:5060\"",
        Trunk,
        &[(3, 11, "is no address and port", "not a name")],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.2:5060\"\nadvertise = \"0.0.0.0:5060\"",
        Trunk,
        &[(
            4,
            13,
            "an address nobody can answer to",
            "that peers reach this listener by",
        )],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.2:5060\"\nadvertise = \"sip:a b\"",
        Trunk,
        &[(4, 13, "cannot be shown to peers", "\"203.0.113.10:5060\"")],
    ),
    (
        "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"",
        Trunk,
        &[(
            6,
            11,
            "udp 127.0.0.1:5060 is already listened on, see line 1",
            "remove one of the two",
        )],
    ),
    (
        "[[listen]]\nname = \"outside\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:5060\"",
        Both,
        // The one behind the snippet is the second.
        &[(
            7,
            8,
            "the listener of line 1 is also named \"outside\"",
            "its own name",
        )],
    ),
    (
        "[[listen]]\nname = \"a b\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:5060\"",
        Trunk,
        &[(2, 8, "\"a b\" is no usable name", "without spaces")],
    ),
    (
        "[admin]",
        Both,
        &[(
            1,
            1,
            "[admin] has no address",
            "write address = \"127.0.0.1:8060\"",
        )],
    ),
    (
        "[admin]\naddress = \"8060\"",
        Both,
        &[(
            2,
            11,
            "\"8060\" is no address and port",
            "write an address and a port",
        )],
    ),
    (
        "[dns]\nservers = [\"ns1.example.net\"]",
        Both,
        &[(2, 12, "is no address and port", "not a name")],
    ),
    (
        "[admin]\naddress = \"127.0.0.1:5080\"\n[[listen]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:5080\"",
        Trunk,
        &[(
            2,
            11,
            "is taken by the tcp listener 127.0.0.1:5080",
            "another port",
        )],
    ),
    // Who may speak.
    (
        "[pbx]\nallow = [\"10.0.0.0/33\"]",
        Both,
        &[(
            2,
            10,
            "\"10.0.0.0/33\" is neither an address nor a network",
            "\"192.0.2.0/24\"",
        )],
    ),
    (
        "[pbx]\nallow = [\"10.0.0.7/8\"]",
        Both,
        &[(
            2,
            10,
            "\"10.0.0.7/8\"",
            "write \"10.0.0.0/8\" for the network or \"10.0.0.7\"",
        )],
    ),
    (
        "[pbx]\nallow = [\"preset:twilio\"]",
        Both,
        &[(2, 10, "names a carrier's addresses", "in a trunk's allow")],
    ),
    (
        "[[trunk]]\nname = \"a\"\nallow = [\"preset:twillio\"]\n[trunk.termination]\nedges = [\"e.example\"]",
        Listener,
        &[(
            3,
            10,
            "there is no preset \"twillio\"",
            "did you mean \"preset:twilio\"?",
        )],
    ),
    (
        "[[trunk]]\nname = \"a\"\nallow = [\"preset:../../etc/passwd\"]\n[trunk.termination]\nedges = [\"e.example\"]",
        Listener,
        &[(3, 10, "there is no preset", "known: twilio, telnyx, vonage")],
    ),
    // Trunks.
    (
        "",
        Listener,
        &[(0, 0, "there is no [[trunk]]", "write [[trunk]] with a name")],
    ),
    (
        "[[trunk]]\n[trunk.termination]\nedges = [\"e.example\"]",
        Listener,
        &[(1, 1, "[[trunk]] has no name", "write name = ")],
    ),
    (
        "[[trunk]]\nname = \"acme\"\n[trunk.termination]\nedges = [\"e.example\"]",
        Both,
        &[(
            12,
            8,
            "the trunk of line 1 is also named \"acme\"",
            "its own name",
        )],
    ),
    (
        "[[trunk]]\nname = \"a\"",
        Listener,
        &[(
            1,
            1,
            "neither [trunk.termination] nor [trunk.origination]",
            "add one of them, or both",
        )],
    ),
    (
        "[[trunk]]\nname = \"a\"\nhosts = [\"sip:x\"]\nnumbers = [\"+1*5\"]\n[trunk.termination]\nedges = [\"e.example\"]",
        Listener,
        &[
            (
                3,
                10,
                "\"sip:x\" is neither a host name nor an address",
                "the host of the Request-URI alone",
            ),
            (
                4,
                12,
                "\"+1*5\" is neither a number",
                "the star only stands at the end",
            ),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = []",
        Listener,
        &[(4, 9, "edges is empty", "termination host")],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\ncps = 1",
        Listener,
        &[(3, 1, "[trunk.termination] has no edges", "write edges = ")],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = []",
        Listener,
        &[(4, 11, "targets is empty", "name a PBX")],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"https://e.example\", \"e..example\", \"10.0.0.300\", \"tel:+1\", \"\"]",
        Listener,
        &[
            (
                4,
                10,
                "\"https://e.example\" is neither a host nor a SIP URI",
                "write \"host\"",
            ),
            (
                4,
                31,
                "\"e..example\" is neither",
                "\"sip:host:5060;transport=tcp\"",
            ),
            (4, 45, "\"10.0.0.300\" is neither", "write"),
            (4, 59, "a tel URI names no host", "write"),
            (4, 69, "\"\" is neither", "write"),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"sip:e.example;transport=tls\", \"sips:e.example\", \"sip:e.example;transport=wss\"]",
        Listener,
        &[
            (4, 10, "edges asks for tls", "this build speaks udp and tcp"),
            (
                4,
                41,
                "asks for tls (sips:)",
                "this build speaks udp and tcp",
            ),
            (4, 59, "asks for wss", "this build speaks udp and tcp"),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"sip:e.example;transport=tcp\", \"[2001:db8::1]:5060\"]",
        Listener,
        &[
            (
                4,
                10,
                "needs tcp, but no listener speaks tcp",
                "add a [[listen]] for tcp",
            ),
            (
                4,
                41,
                "needs IPv6, but no listener speaks IPv6",
                "add a [[listen]] for IPv6",
            ),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [{ uri = \"e.example\", from = \"outsid\" }, { from = \"outside\" }]",
        Listener,
        &[
            (
                4,
                38,
                "no listener is named \"outsid\"",
                "did you mean \"outside\"?",
            ),
            (4, 50, "an edge has no uri", "write uri = "),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"sip:e.example?X-A=1\"]",
        Listener,
        &[(4, 10, "carries headers", "remove what follows the \"?\"")],
    ),
    // Codes.
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e.example\"]\nfailover_on = [200, \"7xx\", \"not 404\", 503, \"5xx\"]\nstop_on = [\"x\"]",
        Listener,
        &[
            (
                5,
                16,
                "\"200\" is no final code that could move on",
                "codes from 300 to 699",
            ),
            (5, 21, "\"7xx\" is no final code", "\"5xx\", \"6xx\""),
            (
                5,
                28,
                "\"not 404\" is no final code",
                "write the code into stop_on",
            ),
            (6, 12, "\"x\" is no final code", "codes from 300 to 699"),
        ],
    ),
    // Disaster recovery.
    (
        "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e.example\"]\n[trunk.disaster_recovery]\nurl = \"https://dr.example/\"",
        Listener,
        &[(
            5,
            1,
            "without [trunk.origination] is never asked",
            "add [trunk.origination]",
        )],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = [\"pbx\"]\n[trunk.disaster_recovery]\nurl = \"dr.example/voice\"\nfallback_url = \"https://user:secret@dr.example/\"\nauth_token_file = \"none.token\"",
        Listener,
        &[
            (
                6,
                7,
                "url = \"dr.example/voice\" is no web address: it has no scheme",
                "https://",
            ),
            (
                7,
                16,
                "fallback_url carries a user name or password",
                "auth_token_file",
            ),
            (
                8,
                19,
                "cannot read /etc/trunkline/none.token",
                "create the file",
            ),
        ],
    ),
    (
        "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = [\"pbx\"]\n[trunk.disaster_recovery]\nmethod = \"PUT\"\nauth_token = \"hunter2\"",
        Listener,
        &[
            (5, 1, "[trunk.disaster_recovery] has no url", "write url = "),
            (6, 10, "method = \"PUT\" is unknown", "\"POST\" or \"GET\""),
            (
                7,
                1,
                "unknown key \"auth_token\"",
                "name that with auth_token_file",
            ),
        ],
    ),
    (
        "[node]\nsecret_file = \"short.secret\"",
        Both,
        &[(2, 15, "holds 5 bytes, too few", "at least 16 bytes")],
    ),
    // Routes.
    (
        "[[route]]\nmatch = \"+1*\"\ntrunks = [\"acmee\"]",
        Both,
        &[(
            3,
            11,
            "there is no trunk \"acmee\"",
            "did you mean \"acme\"?",
        )],
    ),
    (
        "[[route]]\nmatch = \"\"\ntrunks = []",
        Both,
        &[
            (2, 9, "\"\" is neither a number nor how one begins", "\"*\""),
            (3, 10, "trunks is empty", "at least one trunk"),
        ],
    ),
    (
        "[[route]]\nmatch = \"*\"\ntrunks = [\"in\"]\n[[trunk]]\nname = \"in\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"pbx\"]",
        Listener,
        &[(
            3,
            11,
            "trunk \"in\" takes no outbound calls",
            "give it a [trunk.termination]",
        )],
    ),
    // The syntax itself. What seems to be missing then is not told: it may be in the torn part.
    (
        "[node\nname = \"a\"",
        Nothing,
        &[(1, 6, "unclosed table, expected `]`", "reference.toml")],
    ),
    (
        "[node]\nname = \"a",
        Nothing,
        &[(2, 10, "invalid basic string", "reference.toml")],
    ),
    (
        "[node]\nname = \"a\"\nname = \"b\"",
        Nothing,
        &[(3, 1, "duplicate key", "reference.toml")],
    ),
    (
        "[node]\nname = unquoted\nnmae = \"a\"",
        Nothing,
        &[
            (2, 8, "string", "reference.toml"),
            (3, 1, "unknown key \"nmae\"", "did you mean \"name\"?"),
        ],
    ),
];

#[test]
fn every_fault_is_told_at_once_with_its_place_and_its_remedy() {
    let mut memory = Memory::new();
    memory.file("/etc/trunkline/short.secret", "12345\n");
    let mut wrong = Vec::new();
    for (snippet, with, expected) in CASES {
        let behind = match with {
            Nothing => String::new(),
            Listener => LISTEN.to_owned(),
            Trunk => TRUNK.to_owned(),
            Both => format!("{LISTEN}{TRUNK}"),
        };
        let text = format!("{snippet}\n{behind}");
        let Err(report) = memory.parse(&text) else {
            wrong.push(format!("accepted:\n{snippet}"));
            continue;
        };
        let errors: Vec<_> = report
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .collect();
        let as_expected = errors.len() == expected.len()
            && errors
                .iter()
                .zip(*expected)
                .all(|(found, (line, column, message, remedy))| {
                    (found.line, found.column) == (*line, *column)
                        && found.message.contains(message)
                        && found.remedy.contains(remedy)
                });
        if !as_expected {
            wrong.push(format!(
                "{snippet}\n--- expected {expected:?}\n--- got\n{report}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "\n{}\n{} of {}",
        wrong.join("\n=======\n"),
        wrong.len(),
        CASES.len()
    );
    assert!(CASES.len() >= 40);
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
