//! Files that are fine, and what they come to mean.

mod support;

use std::{path::Path, time::Duration};

use support::Memory;
use trunkline_config::{Loaded, LogFormat, LogLevel, Severity};
use trunkline_proxy::{
    hop::ListenerId,
    question::{HttpMethod, Secret},
    settings::{CodeSet, Exhausted, InDialog, Policy, UnknownSource, Webhook},
};
use trunkline_sip::Transport;

#[test]
fn every_key_of_the_contract_means_what_its_comment_says() {
    let loaded = match Memory::new().parse(include_str!("contract.toml")) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{report}"),
    };
    let (settings, control) = (&loaded.settings, &loaded.control);

    assert_eq!(&*settings.node, "edge-1");
    assert_eq!(control.state_dir.to_str(), Some("/var/lib/trunkline"));
    assert_eq!(control.drain_timeout, Duration::from_secs(30));
    assert_eq!(control.admin, Some("127.0.0.1:8060".parse().unwrap()));
    assert_eq!(control.dns_timeout, Duration::from_secs(2));
    assert_eq!(
        (control.log_format, control.log_level),
        (LogFormat::Text, LogLevel::Info)
    );
    assert_eq!(settings.access.unknown_source, UnknownSource::Drop);
    assert_eq!(settings.access.rate, 200);
    assert_eq!(settings.pbx_allow, ["10.0.1.0/24".parse().unwrap()]);

    let [udp, tcp] = &settings.listeners[..] else {
        panic!("two listeners")
    };
    assert_eq!(
        (udp.name.as_deref(), udp.transport),
        (Some("outside"), Transport::Udp)
    );
    assert_eq!((tcp.name.as_deref(), tcp.transport), (None, Transport::Tcp));
    assert_eq!(&*udp.advertise, "203.0.113.10:5060");

    let [trunk] = &settings.trunks[..] else {
        panic!("one trunk")
    };
    assert_eq!(
        trunk.allow.len(),
        9,
        "Twilio's eight networks and one address"
    );
    assert_eq!(trunk.in_dialog, InDialog::Route);

    let termination = trunk.termination.as_ref().unwrap();
    let written: Vec<&str> = termination
        .edges
        .iter()
        .map(|edge| &*edge.address.written)
        .collect();
    assert_eq!(
        written,
        [
            "acme.pstn.dublin.twilio.com",
            "sip:acme.pstn.frankfurt.twilio.com"
        ]
    );
    let place = |id: trunkline_proxy::settings::PlaceId| &settings.places[id.0 as usize];
    assert_eq!(place(termination.edges[1].place).from, Some(ListenerId(0)));
    let attempts = &termination.attempts;
    assert_eq!(attempts.response_timeout, Duration::from_secs(4));
    assert_eq!(attempts.connect_timeout, Duration::from_secs(2));
    assert_eq!(attempts.progress_timeout, None);
    assert_eq!(attempts.answer_timeout, Duration::from_secs(180));
    assert_eq!(attempts.setup_budget, Duration::from_secs(28));
    assert_eq!(attempts.max_attempts, 9);
    assert_eq!(attempts.failover, CodeSet::termination());
    assert_eq!(attempts.exhausted, Exhausted::Own503);
    assert_eq!(attempts.retry_after_max, Duration::from_secs(60));
    assert_eq!(
        (termination.cps, termination.cps_wait),
        (0, Duration::from_secs(2))
    );
    assert_eq!(
        termination.health.probe_interval,
        Some(Duration::from_secs(30))
    );

    let origination = trunk.origination.as_ref().unwrap();
    assert_eq!(origination.policy, Policy::Weighted);
    assert_eq!(origination.attempts.failover, CodeSet::origination());
    assert_eq!(
        origination.health.probe_interval,
        Some(Duration::from_secs(5))
    );
    assert_eq!(
        origination.health.suspect_after,
        Some(Duration::from_secs(1))
    );
    let numbers = |target: &trunkline_proxy::settings::Target| {
        (
            target.priority,
            target.weight,
            target.max_calls,
            target.max_cps,
        )
    };
    let targets: Vec<_> = origination.targets.iter().map(numbers).collect();
    assert_eq!(targets, [(10, 60, 0, 0), (10, 20, 500, 50), (20, 10, 0, 0)]);
    let third = &origination.targets[2];
    assert_eq!(&*third.address.authority, "10.0.2.9:5060");
    assert_eq!(&*third.address.host, "10.0.2.9");
    assert_eq!(&*third.address.params, ";transport=tcp");
    assert_eq!(place(third.place).transport, Some(Transport::Tcp));
    assert_eq!(place(third.place).port, Some(5060));

    let recovery = trunk.recovery.as_ref().unwrap();
    assert_eq!(
        recovery.url,
        Webhook::Url("https://dr.example.net/voice".into())
    );
    assert_eq!(
        recovery.fallback_url,
        Some(Webhook::Url("https://dr.example.org/voice".into()))
    );
    assert_eq!(recovery.method, HttpMethod::Post);
    assert_eq!(
        recovery.auth_token,
        Some(Secret(b"12345".as_slice().into()))
    );

    let [route] = &settings.routes[..] else {
        panic!("one route")
    };
    assert!(route.pattern.matches(b"+15550100") && !route.pattern.matches(b"+44"));
}

/// Run with `TRUNKLINE_WRITE_REFERENCE=1` after a change to `keys`.
#[test]
fn the_reference_in_the_repository_is_the_one_the_program_prints() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/reference.toml");
    let printed = trunkline_config::reference();
    if std::env::var_os("TRUNKLINE_WRITE_REFERENCE").is_some() {
        std::fs::write(file, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(
        kept == printed,
        "config/reference.toml is old; repeat with TRUNKLINE_WRITE_REFERENCE=1 to print it anew"
    );
}

/// The files in `config/` that people start from.
const EXAMPLES: [&str; 6] = [
    "minimal",
    "two-edges",
    "plain-carrier",
    "twilio",
    "disaster-recovery",
    "reference",
];

#[test]
fn every_example_can_be_used_as_it_is_and_only_the_reference_is_asked_about() {
    for name in EXAMPLES {
        let file = format!("{}/../../config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap();
        // An empty machine: an example may not need a file that is not there.
        let loaded = match trunkline_config::parse(&text, Path::new(&file), &Memory::empty()) {
            Ok(loaded) => loaded,
            Err(report) => panic!("{report}"),
        };
        // What the reference shows is every default, and two edges of four addresses exceed one.
        let asked = loaded.warnings.iter().filter(|_| name != "reference");
        let asked: Vec<String> = asked
            .map(|warning| warning.display(Path::new(&file)).to_string())
            .collect();
        assert!(asked.is_empty(), "{}", asked.join("\n"));
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let there = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let toml = there.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    assert_eq!(
        toml.count(),
        EXAMPLES.len(),
        "an example is not listed here"
    );
}

#[test]
fn the_minimal_example_has_ten_lines() {
    let text = include_str!("../../../config/minimal.toml");
    assert!(text.lines().count() <= 10);
}

fn load(text: &str) -> Loaded {
    const LISTEN: &str = "\n[[listen]]\nname = \"out\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
        [[listen]]\nprotocol = \"tcp\"\naddress = \"[::1]:5062\"\n";
    match Memory::new().parse(&format!("{text}{LISTEN}")) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn hosts_and_uris_become_ways_to_address_requests() {
    // Written, then user, host, authority, params; then the place's host, port and transport.
    type Row = (
        &'static str,
        (
            Option<&'static str>,
            &'static str,
            &'static str,
            &'static str,
        ),
        (&'static str, Option<u16>, Option<Transport>),
    );
    let rows: [Row; 9] = [
        (
            "E.Example",
            (None, "e.example", "e.example", ""),
            ("e.example", None, None),
        ),
        (
            "e.example:5080",
            (None, "e.example", "e.example:5080", ""),
            ("e.example", Some(5080), None),
        ),
        (
            "sip:e.example",
            (None, "e.example", "e.example", ""),
            ("e.example", None, None),
        ),
        (
            "SIP:e.example;transport=TCP",
            (None, "e.example", "e.example", ";transport=TCP"),
            ("e.example", None, Some(Transport::Tcp)),
        ),
        (
            "sip:desk@e.example:5080;x=1;lr",
            (Some("desk"), "e.example", "e.example:5080", ";x=1;lr"),
            ("e.example", Some(5080), None),
        ),
        (
            "192.0.2.1",
            (None, "192.0.2.1", "192.0.2.1", ""),
            ("192.0.2.1", None, None),
        ),
        (
            "2001:DB8::1",
            (None, "[2001:db8::1]", "[2001:db8::1]", ""),
            ("2001:db8::1", None, None),
        ),
        (
            "[2001:db8::1]:5080",
            (None, "[2001:db8::1]", "[2001:db8::1]:5080", ""),
            ("2001:db8::1", Some(5080), None),
        ),
        (
            "sip:e.example;maddr=192.0.2.9",
            (None, "e.example", "e.example", ";maddr=192.0.2.9"),
            ("192.0.2.9", None, None),
        ),
    ];
    for (written, (user, host, authority, params), (resolved, port, transport)) in rows {
        let text = format!("[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"{written}\"]");
        let settings = load(&text).settings;
        let edge = &settings.trunks[0].termination.as_ref().unwrap().edges[0];
        let address = &edge.address;
        assert_eq!(&*address.written, written);
        assert_eq!(&*address.scheme, "sip");
        assert_eq!(
            (
                address.user.as_deref(),
                &*address.host,
                &*address.authority,
                &*address.params
            ),
            (user, host, authority, params),
            "{written}"
        );
        let place = &settings.places[edge.place.0 as usize];
        assert_eq!(
            (&*place.host, place.port, place.transport),
            (resolved, port, transport),
            "{written}"
        );
    }
}

#[test]
fn what_is_the_same_place_is_resolved_once() {
    let settings = load(
        "[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n\
         [trunk.termination]\nedges = [\"e.example\", \"sip:E.example\", { uri = \"e.example\", from = \"out\" }]\n\
         [trunk.origination]\ntargets = [\"sip:desk@e.example;x=1\", \"e.example:5060\"]",
    )
    .settings;
    // Plain, with a listener of its own, and with a port that forbids SRV.
    assert_eq!(settings.places.len(), 3, "{:?}", settings.places);
}

#[test]
fn codes_that_move_on_are_what_is_written_less_the_exceptions() {
    let failover = |termination: &str| {
        let text = format!(
            "[[trunk]]\nname = \"a\"\n[trunk.termination]\nedges = [\"e.example\"]\n{termination}"
        );
        load(&text).settings.trunks[0]
            .termination
            .as_ref()
            .unwrap()
            .attempts
            .failover
            .clone()
    };
    assert_eq!(failover(""), CodeSet::termination());
    let mut less = CodeSet::termination();
    less.remove(408);
    assert_eq!(failover("stop_on = [408]"), less);
    let mut servers = CodeSet::empty();
    servers.insert_class(5);
    servers.insert(404);
    servers.remove(501);
    assert_eq!(
        failover("failover_on = [\"5XX\", 404, \"501\"]\nstop_on = [501]"),
        servers
    );
    assert_eq!(failover("failover_on = []"), CodeSet::empty());
    let twilio = load(
        "[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n[trunk.origination]\ntargets = [\"p\"]\nfailover_on = [\"4xx\", \"5xx\"]\nstop_on = [400, 404, 405, 410, 416, 482, 484, 486, 487]",
    );
    let twilio = &twilio.settings.trunks[0]
        .origination
        .as_ref()
        .unwrap()
        .attempts
        .failover;
    assert_eq!(
        *twilio,
        CodeSet::origination(),
        "Twilio's rule, written out; redirects go back to who asked"
    );
}

#[test]
fn a_direction_keeps_the_health_it_does_not_change() {
    let loaded = load(
        "[health]\nprobe_interval = \"60s\"\nfail_after = 3\nsuspect_after = \"off\"\n\
         [[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n[trunk.origination]\ntargets = [\"p\"]\n\
         [trunk.origination.health]\nprobe_timeout = \"500ms\"\n\
         [trunk.termination]\nedges = [\"e.example\"]\n[trunk.termination.health]\nprobe_interval = \"off\"\nfail_after = 5\nsuspect_after = \"2s\"",
    );
    let trunk = &loaded.settings.trunks[0];
    let (termination, origination) = (
        trunk.termination.as_ref().unwrap(),
        trunk.origination.as_ref().unwrap(),
    );
    assert_eq!(
        origination.health.probe_interval,
        Some(Duration::from_secs(5))
    );
    assert_eq!(origination.health.probe_timeout, Duration::from_millis(500));
    assert_eq!(
        (
            origination.health.fail_after,
            origination.health.suspect_after
        ),
        (3, None)
    );
    assert_eq!(termination.health.probe_interval, None);
    assert_eq!(termination.health.probe_timeout, Duration::from_secs(1));
    assert_eq!(
        (
            termination.health.fail_after,
            termination.health.suspect_after
        ),
        (5, Some(Duration::from_secs(2)))
    );
}

#[test]
fn a_preset_of_ones_own_goes_before_the_built_in_one() {
    let mut memory = Memory::new();
    memory.file(
        "/etc/trunkline/own/twilio.toml",
        "networks = [\"192.0.2.0/24\"]\n",
    );
    let text = "[node]\npresets_dir = \"own\"\n[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
        [[trunk]]\nname = \"a\"\nallow = [\"preset:twilio\", \"preset:telnyx\"]\n[trunk.origination]\ntargets = [\"p\"]\n";
    let settings = memory.parse(text).unwrap().settings;
    assert_eq!(settings.trunks[0].allow[0], "192.0.2.0/24".parse().unwrap());
    assert_eq!(settings.trunks[0].allow.len(), 13);
    memory.file(
        "/etc/trunkline/own/twilio.toml",
        "networks = [\"192.0.2.0\"\n",
    );
    let report = memory.parse(text).unwrap_err().to_string();
    assert!(
        report.contains("preset \"twilio\" cannot be used: /etc/trunkline/own/twilio.toml:"),
        "{report}"
    );
}

#[test]
fn file_names_start_at_the_folder_of_the_file() {
    let mut memory = Memory::new();
    memory.file("/etc/trunkline/cluster.secret", "  0123456789abcdef\n");
    let text = "[node]\nstate_dir = \"state\"\nsecret_file = \"cluster.secret\"\n[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
        [[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n[trunk.origination]\ntargets = [\"p\"]\n";
    let control = memory.parse(text).unwrap().control;
    assert_eq!(control.name, "test-host");
    assert_eq!(control.state_dir, Path::new("/etc/trunkline/state"));
    assert_eq!(
        control.secret_file.as_deref(),
        Some(Path::new("/etc/trunkline/cluster.secret"))
    );
    assert_eq!(
        control.secret,
        Some(Secret(b"0123456789abcdef".as_slice().into()))
    );
}

#[test]
fn every_piece_of_the_manual_can_be_written_into_a_file() {
    let manual = include_str!("../../../config/README.md");
    let pieces: Vec<&str> = manual
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(pieces.len() >= 8);
    for piece in pieces {
        // A piece is a part: what the rest of a file would bring may be missing, nothing else.
        let trunk = if piece.starts_with("[trunk.") {
            "[[trunk]]\nname = \"acme\"\n"
        } else {
            ""
        };
        let Err(report) = Memory::new().parse(&format!("{trunk}{piece}")) else {
            continue;
        };
        let missing = [
            "there is no ",
            " has no ",
            "neither [trunk.",
            "is never asked",
        ];
        for found in &report.diagnostics {
            let excused = found.severity == Severity::Warning
                || missing.iter().any(|part| found.message.contains(part));
            assert!(excused, "{piece}\n{report}");
        }
    }
}

#[test]
fn a_file_on_disk_finds_its_secrets_beside_it() {
    let folder = std::env::temp_dir().join(format!("trunkline-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("trunkline.toml");
    let text = "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n\
        [trunk.origination]\ntargets = [\"p\"]\n[trunk.disaster_recovery]\nurl = \"https://dr.example/\"\nauth_token_file = \"a.token\"\n";
    std::fs::write(&file, text).unwrap();
    let missing = trunkline_config::load(&file).unwrap_err().to_string();
    std::fs::write(folder.join("a.token"), "12345\n").unwrap();
    let loaded = trunkline_config::load(&file);
    std::fs::write(&file, b"[node]\nname = \"\xff\"\n").unwrap();
    let not_text = trunkline_config::load(&file).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();

    assert!(
        missing.contains("trunkline.toml:11:19: error: cannot read"),
        "{missing}"
    );
    let recovery = loaded.unwrap().settings.trunks[0].recovery.clone().unwrap();
    assert_eq!(
        recovery.auth_token,
        Some(Secret(b"12345".as_slice().into()))
    );
    assert!(not_text.contains("line 2 is not UTF-8 text"), "{not_text}");
}

/// A trunk whose recovery is this.
fn recovery(memory: &Memory, keys: &str) -> trunkline_proxy::settings::Recovery {
    let text = format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n\
         [trunk.origination]\ntargets = [\"p\"]\n[trunk.disaster_recovery]\n{keys}"
    );
    let loaded = memory
        .parse(&text)
        .unwrap_or_else(|report| panic!("{report}"));
    (**loaded.settings.trunks[0].recovery.as_ref().unwrap()).clone()
}

#[test]
fn a_profile_is_as_its_service_is_and_what_is_written_beside_it_counts_more() {
    use trunkline_proxy::settings::{Format, RepeatOn};
    let seconds = |count| Duration::from_secs(count);
    let memory = Memory::new();
    let of = |profile: &str| recovery(&memory, &format!("url = \"https://h/\"\n{profile}"));
    let plain = of("");
    assert_eq!(
        (
            plain.connect_timeout,
            plain.read_timeout,
            plain.timeout,
            plain.retry_after
        ),
        (seconds(1), seconds(5), seconds(5), seconds(1))
    );
    assert_eq!(
        (plain.method, plain.format),
        (HttpMethod::Post, Format::Twilio)
    );
    assert_eq!(plain.retry_on, RepeatOn::all());
    let twilio = of("profile = \"twilio\"");
    assert_eq!(
        (
            twilio.connect_timeout,
            twilio.read_timeout,
            twilio.retries,
            twilio.retry_after
        ),
        (seconds(5), seconds(15), 1, seconds(0))
    );
    assert!(
        twilio.retry_on.connect && !twilio.retry_on.read && !twilio.retry_on.codes.contains(500)
    );
    let vonage = of("profile = \"vonage\"");
    assert_eq!(
        (vonage.method, vonage.format),
        (HttpMethod::Get, Format::Vonage)
    );
    assert_eq!(
        (vonage.connect_timeout, vonage.read_timeout),
        (seconds(1), seconds(5))
    );
    let codes = [429, 500, 503, 504].map(|code| vonage.retry_on.codes.contains(code));
    assert_eq!(codes, [true, false, true, true]);
    assert_eq!(of("profile = \"exotel\"").retry_on, RepeatOn::all());
    let mixed = of(
        "profile = \"vonage\"\nmethod = \"POST\"\nformat = \"twilio\"\nread_timeout = \"2s\"\nretry_on = [\"rt\", \"5xx\"]",
    );
    assert_eq!(
        (mixed.method, mixed.format),
        (HttpMethod::Post, Format::Twilio)
    );
    assert_eq!(
        (mixed.connect_timeout, mixed.read_timeout),
        (seconds(1), seconds(2))
    );
    assert!(mixed.retry_on.read && mixed.retry_on.codes.contains(599) && !mixed.retry_on.connect);
}

#[test]
fn a_file_as_the_answer_is_read_and_judged_with_the_configuration() {
    let mut memory = Memory::new();
    memory
        .file("/etc/trunkline/dr/a.xml", "<Response><Dial>+15550100</Dial></Response>")
        .file("/etc/trunkline/dr/b.json", "[{\"action\":\"talk\",\"text\":\"x\"},{\"action\":\"connect\",\"endpoint\":[{\"type\":\"phone\",\"number\":\"15550100\"}]}]")
        .file("/etc/trunkline/dr/record.xml", "<Response><Say voice='alice'>Call <!-- later -->later</Say><Record/><Reject/></Response>")
        .file("/etc/trunkline/dr/two.xml", "<Response><Dial timeLimit='9'><Number>+15550100</Number><Number>+15550101</Number></Dial></Response>")
        .file("/etc/trunkline/dr/bad.xml", "<Response>\n<Shout/></Response>");
    let read = recovery(
        &memory,
        "url = \"file:dr/a.xml\"\nfallback_url = \"file:dr/b.json\"\nlast_resort = \"sip:duty@h\"",
    );
    assert_eq!(read.url.written(), "file:dr/a.xml");
    assert_eq!(
        read.last_resort,
        trunkline_proxy::settings::LastResort::Dial("sip:duty@h".into())
    );
    let text = |file: &str| {
        format!(
            "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n[[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\n\
             [trunk.origination]\ntargets = [\"p\"]\n[trunk.disaster_recovery]\nurl = \"file:dr/{file}\"\n"
        )
    };
    let warned = memory.parse(&text("b.json")).unwrap().warnings;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0]
            .message
            .contains("b.json:1:2: talk needs a media server"),
        "{warned:?}"
    );
    let message = |warned: &[trunkline_config::Diagnostic]| -> Vec<String> {
        warned.iter().map(|it| it.message.clone()).collect()
    };
    let two = message(&memory.parse(&text("two.xml")).unwrap().warnings).join("\n");
    for part in [
        "two.xml:1:11: Dial timeLimit is not carried out here",
        "two.xml:1:11: Dial calls its 2 nouns in turn",
    ] {
        assert!(two.contains(part), "{two}");
    }
    // What is configured decides what a verb comes to.
    let with = |more: &str| message(&memory.parse(&(text("record.xml") + more)).unwrap().warnings);
    let media = "media = \"sip:192.0.2.5\"\n";
    let page = "record_page = \"https://dr.test/mail.vxml\"\n";
    for (more, expected) in [
        (
            String::new(),
            &["Say needs", "Record needs a media server"][..],
        ),
        (
            media.to_owned(),
            &["Say voice is not", "Record needs a page"],
        ),
        (format!("{media}{page}"), &["Say voice is not"]),
        (
            page.to_owned(),
            &["record_page has no effect", "Say needs", "Record needs"],
        ),
    ] {
        let warned = with(&more);
        assert_eq!(warned.len(), expected.len(), "{more}: {warned:?}");
        for part in expected {
            assert!(
                warned.iter().any(|it| it.contains(part)),
                "{more}: {warned:?}"
            );
        }
    }
    let refused = memory.parse(&(text("a.xml") + media + "record_page = \"mail.vxml\"\n"));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("record_page = \"mail.vxml\" is no web address"),
        "{refused}"
    );
    let refused = memory.parse(&text("bad.xml")).unwrap_err().to_string();
    assert!(
        refused.contains("bad.xml:2:1: Shout is no verb"),
        "{refused}"
    );
}
