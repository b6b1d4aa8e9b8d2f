//! The habits of the house that no compiler knows.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use trunkline_tests::root;

/// A file that does one thing has no more.
const LINES_MAX: usize = 800;

/// Every file that is ours: what git knows of, and what it would take; without git, what is there.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let made = ["target", "corpus", "artifacts", "coverage", ".git"].contains(&name.as_str());
        if made || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn every_top_level_folder_says_what_it_is() {
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            assert!(path.join("README.md").exists(), "{name}/ has no README.md");
        }
    }
}

#[test]
fn the_top_level_is_small() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "crates",
        "config",
        "tests",
        "fuzz",
        "benches",
        "deploy",
        "target",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name.starts_with('.') || known.contains(&name.as_str()),
            "{name}: has it no folder to be in?"
        );
    }
}

#[test]
fn no_runtime_and_no_sockets_below_the_decisions() {
    let compiler = Command::new("rustc").arg("-vV").output().unwrap();
    let compiler = String::from_utf8_lossy(&compiler.stdout).into_owned();
    let host = compiler
        .lines()
        .find_map(|line| line.strip_prefix("host: "));
    // What other platforms need was never fetched by a build for this one.
    let listed = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", host.expect("rustc names its host")])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let metadata: Value = serde_json::from_slice(&listed.stdout).unwrap();
    for package in ["trunkline-sip", "trunkline-proxy"] {
        let below = dependencies(&metadata, package);
        assert!(below.len() > 1, "{package} is not in {below:?}");
        for runtime in [
            "tokio",
            "mio",
            "socket2",
            "hyper",
            "async-std",
            "smol",
            "futures-executor",
        ] {
            assert!(
                !below.iter().any(|name| name == runtime),
                "{package} has {runtime}"
            );
        }
    }
}

/// The names of a package and of everything it is built from, tests left out.
fn dependencies(metadata: &Value, package: &str) -> Vec<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |id: &Value| {
        packages
            .iter()
            .find(|it| it["id"] == *id)
            .map(|it| it["name"].as_str().unwrap_or_default())
    };
    let start = packages
        .iter()
        .find(|it| it["name"] == package)
        .map(|it| it["id"].clone())
        .unwrap();
    let mut reached = vec![start];
    let mut at = 0;
    while let Some(id) = reached.get(at).cloned() {
        at += 1;
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let used = kinds.iter().any(|kind| kind["kind"].is_null());
            if used && !reached.contains(&dependency["pkg"]) {
                reached.push(dependency["pkg"].clone());
            }
        }
    }
    reached
        .iter()
        .filter_map(|id| name(id).map(str::to_owned))
        .collect()
}

#[test]
fn no_file_is_too_long_to_read() {
    for file in files().iter().filter(|file| source(file)) {
        let lines = fs::read_to_string(file).unwrap().lines().count();
        assert!(
            lines <= LINES_MAX,
            "{}: {lines} lines; which of its jobs is another file's?",
            file.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Split, so that this file does not find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
    ];
    for file in files().iter().filter(|file| source(file)) {
        let text = fs::read_to_string(file).unwrap();
        for word in words {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
    ];
    for file in files() {
        // Seeds and torture messages are bytes, not always text.
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for home in homes {
            assert!(!text.contains(home), "{} has {home}", file.display());
        }
    }
}

#[test]
fn every_ladder_is_named_after_its_promise_and_says_it() {
    let mut ladders = 0;
    for file in files() {
        if file
            .extension()
            .is_none_or(|extension| extension != "ladder")
        {
            continue;
        }
        ladders += 1;
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let snake = name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
        assert!(
            snake && name.contains('_'),
            "{name}: a promise, in lower_snake_case"
        );
        let text = fs::read_to_string(&file).unwrap();
        let promise = text.lines().next().unwrap_or_default();
        assert!(
            promise.starts_with("# ") && promise.len() > 20,
            "{name}: its first line says no promise"
        );
    }
    assert!(ladders >= 40, "{ladders} ladders");
}
