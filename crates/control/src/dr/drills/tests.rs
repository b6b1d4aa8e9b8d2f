//! What is refused, what runs, and what is counted.

use std::path::Path;

use super::*;

fn settings() -> Arc<Settings> {
    let text = "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
        [[trunk]]\nname = \"a\"\nallow = [\"192.0.2.1\"]\norigination.targets = [\"127.0.0.2\"]\n\
        [[trunk]]\nname = \"b\"\nallow = [\"192.0.2.2\"]\norigination.targets = [\"127.0.0.2\"]\n\
        disaster_recovery.url = \"http://127.0.0.1/\"\n";
    let loaded =
        trunkline_config::parse(text, Path::new("t.toml"), &trunkline_config::System).unwrap();
    loaded.settings
}

fn wanted(trunk: &str, seconds: u64) -> DrillWanted {
    DrillWanted {
        trunk: trunk.into(),
        seconds,
        number: Some("+1555*".into()),
        percent: None,
    }
}

#[test]
fn a_drill_that_would_do_harm_is_refused_and_changes_nothing() {
    let (drills, settings, now) = (Drills::default(), settings(), Instant::now());
    let share = |percent| DrillWanted {
        number: None,
        percent: Some(percent),
        ..wanted("b", 10)
    };
    let both = DrillWanted {
        percent: Some(1.0),
        ..wanted("b", 10)
    };
    for (asked, refused) in [
        (wanted("c", 10), DrillRefused::NoTrunk("c".into())),
        (wanted("a", 10), DrillRefused::NoRecovery("a".into())),
        (wanted("b", 0), DrillRefused::Length),
        (wanted("b", 3601), DrillRefused::Length),
        (share(0.0), DrillRefused::Calls),
        (share(100.1), DrillRefused::Calls),
        (share(f64::NAN), DrillRefused::Calls),
        (both, DrillRefused::Calls),
    ] {
        assert_eq!(drills.begin(asked, &settings, now).unwrap_err(), refused);
    }
    assert!(drills.running(&settings, now).is_empty());
}

#[test]
fn a_drill_ends_by_itself_or_when_it_is_told_to() {
    let (drills, settings, now) = (Drills::default(), settings(), Instant::now());
    let first = drills.begin(wanted("b", 10), &settings, now).unwrap();
    let again = drills.begin(wanted("b", 10), &settings, now).unwrap_err();
    assert_eq!(again, DrillRefused::Running("b".into()));
    let running = drills.running(&settings, now);
    assert_eq!((running.len(), running[0].trunk), (1, TrunkId(1)));
    let later = now + Duration::from_secs(10);
    assert!(drills.running(&settings, later).is_empty());
    assert!(!drills.end(first.id, later), "it has ended already");
    let second = drills.begin(wanted("b", 10), &settings, later).unwrap();
    assert!(drills.end(second.id, later));
    assert!(drills.running(&settings, later).is_empty());
    let shown = drills.shown(later);
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|drill| !drill.running));
}

#[test]
fn old_reports_go_and_running_drills_stay() {
    let (drills, settings, now) = (Drills::default(), settings(), Instant::now());
    for _ in 0..KEPT + 5 {
        let shown = drills.begin(wanted("b", 10), &settings, now).unwrap();
        assert!(drills.end(shown.id, now));
    }
    drills.begin(wanted("b", 10), &settings, now).unwrap();
    assert_eq!(drills.shown(now).len(), KEPT);
    assert_eq!(drills.running(&settings, now).len(), 1);
}
