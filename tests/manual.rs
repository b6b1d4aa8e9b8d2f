//! What the manual says is what the program does. `TRUNKLINE_UPDATE=1` writes what is out of date.

use std::{env, fs, path::Path};

use trunkline_tests::root;

const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->";

/// Compares a file with what it should be, or makes it so.
fn same(file: &Path, is: &str, should_be: &str) {
    if is == should_be {
        return;
    }
    assert!(
        env::var_os("TRUNKLINE_UPDATE").is_some(),
        "{} is out of date; TRUNKLINE_UPDATE=1 cargo test -p trunkline-tests --test manual writes it",
        file.display()
    );
    fs::write(file, should_be).unwrap();
}

#[test]
fn the_manual_lists_every_metric() {
    let file = root().join("deploy/README.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("deploy/README.md has a place for the table");
    let (_, after) = rest
        .split_once(END)
        .expect("the place for the table has an end");
    let table = trunkline_control::metrics::markdown_table();
    same(
        &file,
        &text,
        &format!("{before}{BEGIN}{}\n{END}{after}", table.trim()),
    );
}

#[test]
fn the_reference_shows_every_key() {
    let file = root().join("config/reference.toml");
    let text = fs::read_to_string(&file).unwrap();
    same(&file, &text, &trunkline_config::reference());
}

#[test]
fn every_example_loads() {
    for entry in fs::read_dir(root().join("config")).unwrap() {
        let file = entry.unwrap().path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let loaded = trunkline_config::load(&file);
            assert!(loaded.is_ok(), "{}", loaded.err().unwrap());
        }
    }
}

#[test]
fn every_alert_watches_a_metric_that_there_is() {
    let rules = fs::read_to_string(root().join("deploy/prometheus-rules.yml")).unwrap();
    let known: Vec<&str> = trunkline_control::metrics::METRICS
        .iter()
        .map(|metric| metric.name)
        .collect();
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    for word in words.filter(|word| word.starts_with("trunkline_")) {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end))
            .unwrap_or(word);
        assert!(
            known.contains(&word) || known.contains(&base),
            "{word} is no metric"
        );
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for page in [
        "README.md",
        "config/README.md",
        "crates/README.md",
        "deploy/README.md",
        "fuzz/README.md",
        "tests/README.md",
    ] {
        let file = root().join(page);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}: {error}"));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let to = link.split('#').next().unwrap_or_default();
            if !to.is_empty() && !to.contains("://") {
                let target = file.parent().unwrap().join(to);
                assert!(target.exists(), "{page} links to {to}, which is not there");
            }
        }
    }
}
