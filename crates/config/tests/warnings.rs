//! Files that can be used, and what `check` asks about them.

mod support;

use support::Memory;
use trunkline_config::Loaded;

const LISTEN: &str = "
[[listen]]
name = \"outside\"
protocol = \"udp\"
address = \"127.0.0.1:5060\"
";

fn load(text: &str) -> Loaded {
    match Memory::new().parse(text) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{text}\n{report}"),
    }
}

/// One warning: line, part of the message, part of the remedy.
type Warning = (usize, &'static str, &'static str);

#[test]
fn what_was_hardly_meant_is_asked_about() {
    let cases: &[(&str, &[Warning])] = &[
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\", \"e2.example\"]",
            &[],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\", \"e2.example\", \"e3.example\"]",
            &[(
                5,
                "\"e3.example\" is never tried when all before it are silent: setup_budget 28s has time for 7 attempts of 4s, and 8 addresses stand before it (3 edges of up to 4 addresses each)",
                "response_timeout = \"3100ms\" reaches it",
            )],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\", \"e2.example\", \"e3.example\"]\nresponse_timeout = \"3100ms\"\nmax_attempts = 12",
            &[],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\", \"10.9.9.9\"]\nresponse_timeout = \"1s\"\nmax_attempts = 3",
            &[(
                8,
                "\"10.9.9.9\" is never tried when all before it fail: max_attempts 3, and 4 addresses stand before it (1 edge of up to 4 addresses each and 1 edge by address)",
                "max_attempts = 5",
            )],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\nresponse_timeout = \"5s\"\nsetup_budget = \"4s\"",
            &[(
                7,
                "response_timeout 5s is longer than setup_budget 4s",
                "a fraction",
            )],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\nconnect_timeout = \"5s\"",
            &[(
                7,
                "connect_timeout 5s is longer than response_timeout 4s",
                "make it shorter",
            )],
        ),
        (
            "[health]\nprobe_interval = \"5s\"\n[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"a.pstn.twilio.com\"]",
            &[(
                7,
                "probe_interval 5s is faster than twilio allows (10s)",
                "may be banned",
            )],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"a.pstn.twilio.com\"]\n[trunk.termination.health]\nprobe_interval = \"9s\"",
            &[(
                8,
                "probe_interval 9s is faster than twilio allows",
                "\"10s\" or more",
            )],
        ),
        (
            "[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"p1\"]\n[[trunk]]\nname = \"b\"\nallow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"p2\"]",
            &[(
                8,
                "\"192.0.2.0/24\" may also bring calls of trunk \"a\" (line 3)",
                "give one of them hosts",
            )],
        ),
        (
            "[[trunk]]\nname = \"a\"\nallow = [\"preset:twilio\"]\n[trunk.origination]\ntargets = [\"p1\"]\n[[trunk]]\nname = \"b\"\nallow = [\"preset:twilio\"]\nnumbers = [\"+1*\"]\n[trunk.origination]\ntargets = [\"p2\"]",
            &[],
        ),
        (
            "[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"p1\"]\n[[trunk]]\nname = \"b\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"p2\"]",
            &[(
                8,
                "\"192.0.2.7\" lies inside \"192.0.2.0/24\" of trunk \"a\" (line 3): it belongs to trunk \"b\" alone",
                "take the address out",
            )],
        ),
        (
            "[pbx]\nallow = [\"192.0.2.7\"]\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"p1\"]",
            &[(
                5,
                "\"192.0.2.7\" is a carrier here and a PBX in pbx.allow (line 2)",
                "on one side only",
            )],
        ),
        (
            "[pbx]\nallow = [\"192.0.2.7\"]\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.0/24\"]\n[trunk.origination]\ntargets = [\"p1\"]",
            &[(
                2,
                "lies inside \"192.0.2.0/24\" of trunk \"a\" (line 5): it belongs to pbx.allow alone",
                "the wider network",
            )],
        ),
        (
            "[[trunk]]\nname = \"a\"\nallow = [\"0.0.0.0/0\"]\n[trunk.origination]\ntargets = [\"p1\"]",
            &[(3, "allows the whole internet", "anyone can place calls")],
        ),
        (
            "[[trunk]]\nname = \"a\"\n[trunk.origination]\ntargets = [\"p1\"]",
            &[(
                1,
                "nobody may bring calls to these targets",
                "preset:twilio",
            )],
        ),
        (
            "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]",
            &[(1, "nobody may place outbound calls", "[pbx]")],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\", \"e1.example\"]\nresponse_timeout = \"1s\"",
            &[(6, "\"e1.example\" already stands in line 6", "remove one")],
        ),
        (
            "[[route]]\nmatch = \"*\"\ntrunks = [\"a\", \"b\", \"c\"]\n[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\n[[trunk]]\nname = \"b\"\n[trunk.termination]\nedges = [\"e2.example\"]\nresponse_timeout = \"3s\"\n[[trunk]]\nname = \"c\"\n[trunk.termination]\nedges = [\"e3.example\"]",
            &[(
                1,
                "trunk \"c\" is never tried on this route when all before it fail: 8 silent addresses take 28s, and setup_budget of trunk \"a\" is 28s",
                "lower response_timeout",
            )],
        ),
        (
            "[[route]]\nmatch = \"*\"\ntrunks = [\"a\", \"b\"]\n[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\nmax_attempts = 4\n[[trunk]]\nname = \"b\"\n[trunk.termination]\nedges = [\"e2.example\"]",
            &[(
                1,
                "trunk \"b\" is never tried on this route when all before it fail: 4 addresses stand before it, and max_attempts of trunk \"a\" is 4",
                "raise max_attempts",
            )],
        ),
        (
            "[[route]]\nmatch = \"+1*\"\ntrunks = [\"a\"]\n[[route]]\nmatch = \"+1555*\"\ntrunks = [\"a\", \"a\"]\n[[route]]\nmatch = \"+44\"\ntrunks = [\"a\"]\n[[route]]\nmatch = \"+44\"\ntrunks = [\"a\"]\n[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\n[[trunk]]\nname = \"b\"\n[trunk.termination]\nedges = [\"e2.example\"]",
            &[
                (
                    4,
                    "this route never matches: the one of line 1 takes all its calls",
                    "put it before",
                ),
                (6, "this trunk is named twice", "remove one"),
                (10, "the one of line 7 takes all its calls", "or remove it"),
                (
                    19,
                    "no route leads to trunk \"b\"",
                    "name it in a [[route]]",
                ),
            ],
        ),
        (
            "[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"p1\"]\nhash_on = \"from\"\n[trunk.disaster_recovery]\nurl = \"http://dr.example/\"\nfallback_url = \"http://127.0.0.1:8080/\"\nconnect_timeout = \"6s\"",
            &[
                (6, "hash_on has no effect", "policy = \"hash\""),
                (8, "is not encrypted", "https://"),
                (10, "connect_timeout is longer than timeout", "shorter"),
            ],
        ),
        (
            "[[listen]]\nprotocol = \"udp\"\naddress = \"0.0.0.0:5070\"\n[[listen]]\nprotocol = \"tcp\"\naddress = \"[::]:5070\"\n[[listen]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"p1\"]",
            &[
                (
                    3,
                    "peers will be shown 192.0.2.5:5070",
                    "advertise = \"192.0.2.5:5070\"",
                ),
                (
                    6,
                    "peers will be shown [2001:db8::5]:5070",
                    "public address",
                ),
                (9, "port 0", "5060 is usual"),
            ],
        ),
        (
            "[pbx]\nallow = [\"10.0.0.1\"]\n[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e1.example\"]\ncps = 1",
            &[],
        ),
    ];
    for (text, expected) in cases {
        let loaded = load(&format!("{text}\n{LISTEN}"));
        let shown: Vec<String> = loaded
            .warnings
            .iter()
            .map(|warning| format!("{}: {}; {}", warning.line, warning.message, warning.remedy))
            .collect();
        assert_eq!(shown.len(), expected.len(), "{text}\n{}", shown.join("\n"));
        for (found, (line, message, remedy)) in loaded.warnings.iter().zip(*expected) {
            let fits = found.line == *line
                && found.message.contains(message)
                && found.remedy.contains(remedy);
            assert!(fits, "{text}\n{}", shown.join("\n"));
        }
    }
}

#[test]
fn a_machine_without_addresses_still_runs_on_loopback() {
    let text = "[[listen]]\nprotocol = \"udp\"\naddress = \"0.0.0.0:5060\"\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.7\"]\n[trunk.origination]\ntargets = [\"p1\"]\n";
    let loaded = Memory::new().without_addresses().parse(text).unwrap();
    assert_eq!(&*loaded.settings.listeners[0].advertise, "127.0.0.1:5060");
    assert!(
        loaded.warnings[0].message.contains("none leads outside"),
        "{:?}",
        loaded.warnings
    );
}

/// What a person reads who wonders how long a death goes unnoticed, and which lines to change.
#[test]
fn a_death_is_foretold_in_words_with_the_lines_that_decide() {
    let loaded = load(&format!(
        "[health]
target_probe_interval = \"2s\"
[[trunk]]
name = \"acme\"
allow = [\"preset:twilio\"]
[trunk.termination]
edges = [\"acme.pstn.dublin.twilio.com\", \"acme.pstn.frankfurt.twilio.com\", \"192.0.2.7\"]
response_timeout = \"3s\"
max_attempts = 9
[trunk.termination.health]
probe_interval = \"20s\"
fail_after = 1
[trunk.origination]
targets = [\"10.0.2.1\", \"10.0.2.2\"]
setup_budget = \"6s\"
[trunk.origination.health]
suspect_after = \"off\"
{LISTEN}"
    ));
    let shown: Vec<String> = loaded
        .foresight
        .iter()
        .map(|foresight| foresight.to_string())
        .collect();
    assert_eq!(
        shown.join("\n"),
        "\
if an address of a \"acme\" edge dies (line 6):
  probes notice it after at most 23 s                 probe_interval 20s (line 11), probe_timeout 1s (default), fail_after 1 (line 12)
  several silent calls make others avoid it after 1 s suspect_after 1s (default)
  one call notices it after 3 s                       response_timeout 3s (line 8), fail_after 1 (line 12)
  if all are silent, a caller waits at most 27 s      9 x response_timeout 3s (line 8), 2 edges of up to 4 addresses each and 1 edge by address (line 6)
if an address of a \"acme\" target dies (line 13):
  probes notice it after at most 4.2 s                target_probe_interval 2s (line 2), probe_timeout 1s (default), fail_after 2 (default)
  several silent calls say no more than one           suspect_after off (line 17)
  2 calls notice it after 4 s each                    response_timeout 4s (default), fail_after 2 (default)
  if all are silent, a caller waits at most 6 s       2 x response_timeout 4s (default), 2 targets (line 13)
  if this machine dies, twilio gives it up after 4 s  preset:twilio (line 5)"
    );
}

/// One mistake, one message: a misspelt `allow` is not also a missing one.
#[test]
fn a_misspelt_allow_is_one_fault() {
    for typo in [
        "alow = [\"192.0.2.7\"]",
        "allow = [\"192.0.2.700\"]",
        "allow = [\"preset:twilo\"]",
        "allow = \"192.0.2.7\"",
    ] {
        let text = format!(
            "[[trunk]]\nname = \"a\"\n{typo}\n[trunk.origination]\ntargets = [\"p1\"]\n{LISTEN}"
        );
        let report = Memory::new().parse(&text).unwrap_err();
        assert_eq!(report.diagnostics.len(), 1, "{typo}\n{report}");
    }
}
