//! Text to [`Script`].

use std::time::Duration;

use trunkline_proxy::{
    HopLoss,
    event::HealthState,
    question::{Answer, HttpFailure},
};

use super::{
    script::{Action, Config, Declared, Kind, NameChange, Script, Step, Wire},
    words::{Word, split, unescape},
};
use crate::{address::Address, names::Record};

/// Why a script cannot be read.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub what: String,
}

type Said<T> = Result<T, String>;

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Script, ParseError> {
        let mut script = Script {
            promise: Vec::new(),
            config: Config::Inline(String::new()),
            declared: Vec::new(),
            names: Vec::new(),
            retransmissions_shown: false,
            probes_shown: false,
            seed: 1,
            steps: Vec::new(),
            rest_empty: false,
            rest_calls: None,
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        let mut in_head = true;
        while let Some(&line) = lines.get(at) {
            let number = at + 1;
            let fault = |what| ParseError { line: number, what };
            at += 1;
            if let Some(comment) = line.strip_prefix('#').filter(|_| in_head) {
                script.promise.push(comment.trim().to_string());
                continue;
            }
            in_head = false;
            let mut words = split(line).map_err(fault)?;
            while words.last() == Some(&Word::Block) {
                let (block, rest, after) = block(&lines, at).map_err(fault)?;
                words.pop();
                words.push(Word::Quoted(block));
                words.extend(split(rest).map_err(fault)?);
                at = after;
            }
            if !words.is_empty() {
                line_of(&mut script, number, Words(&words)).map_err(fault)?;
            }
        }
        Ok(script)
    }
}

/// The lines up to `>>`, without the indentation of the first, each ended by CRLF; what stands
/// behind the `>>`; and where to read on.
fn block<'l>(lines: &[&'l str], from: usize) -> Said<(Vec<u8>, &'l str, usize)> {
    let first = lines.get(from).copied().unwrap_or("");
    let depth = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let indent = depth(first);
    let mut bytes = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(from) {
        if let Some(rest) = line.trim_start().strip_prefix(">>") {
            return Ok((bytes, rest, at + 1));
        }
        bytes.extend(unescape(&line[depth(line).min(indent)..])?);
        bytes.extend(b"\r\n");
    }
    Err("the block is not closed; it ends with a line that begins with >>".into())
}

/// The words of a line that are not read yet.
struct Words<'w>(&'w [Word]);

impl<'w> Words<'w> {
    fn next(&mut self) -> Option<&'w Word> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bare(&mut self, what: &str) -> Said<&'w str> {
        match self.next() {
            Some(Word::Bare(word)) => Ok(word),
            other => Err(format!("expected {what}, found {other:?}")),
        }
    }

    fn quoted(&mut self, what: &str) -> Said<&'w [u8]> {
        match self.next() {
            Some(Word::Quoted(bytes)) => Ok(bytes),
            other => Err(format!("expected {what} in quotes, found {other:?}")),
        }
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, word: &str) -> bool {
        let found = matches!(self.0.first(), Some(Word::Bare(bare)) if bare == word);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn need(&mut self, word: &str) -> Said<()> {
        if self.take(word) {
            Ok(())
        } else {
            Err(format!("expected {word}, found {:?}", self.0.first()))
        }
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Said<T> {
        let word = self.bare(what)?;
        word.parse().map_err(|_| format!("{word} is not {what}"))
    }

    fn end(&self) -> Said<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(format!("nothing is expected after this: {:?}", self.0))
        }
    }
}

fn line_of(script: &mut Script, line: usize, mut words: Words<'_>) -> Said<()> {
    let first = match words.0.first() {
        Some(Word::Bare(first)) => first.as_str(),
        _ => {
            return Err(
                "a line begins with a time or a word such as config, peer, dns, rest".into(),
            );
        }
    };
    if first.starts_with(|first: char| first.is_ascii_digit()) {
        let at = time(words.bare("a time")?)?;
        if script.steps.last().is_some_and(|last| last.at > at) {
            return Err("time runs forward: this step is earlier than the one before".into());
        }
        let action = action(&mut words)?;
        script.steps.push(Step { line, at, action });
        return words.end();
    }
    match words.bare("a word")? {
        "config" => {
            script.config = match words.next() {
                Some(Word::Bare(file)) => Config::File(file.clone()),
                Some(Word::Quoted(block)) => {
                    Config::Inline(String::from_utf8_lossy(block).replace("\r\n", "\n"))
                }
                _ => return Err("config wants a file name or <<".into()),
            }
        }
        "peer" => script.declared.push(peer(&mut words)?),
        "some" => script.declared.push(some(&mut words)?),
        "dns" => {
            let change = name_change(&mut words)?;
            script.names.push(change);
        }
        "retransmissions" => {
            words.need("shown")?;
            script.retransmissions_shown = true;
        }
        "probes" => {
            words.need("shown")?;
            script.probes_shown = true;
        }
        "seed" => script.seed = words.number("a seed")?,
        "nothing" => {
            words.need("until")?;
            let at = time(words.bare("a time")?)?;
            script.steps.push(Step {
                line,
                at,
                action: Action::Quiet,
            });
        }
        "rest" => match words.bare("empty or calls")? {
            "empty" => script.rest_empty = true,
            "calls" => script.rest_calls = Some(words.number("a number of calls")?),
            other => {
                return Err(format!(
                    "rest {other}: there is rest empty and rest calls N"
                ));
            }
        },
        other => {
            return Err(format!(
                "{other}: unknown; a line begins with a time or one of config, peer, some, dns, \
                 retransmissions, probes, seed, nothing, rest"
            ));
        }
    }
    words.end()
}

fn time(text: &str) -> Said<Duration> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text} is not a time in seconds"))?;
    if !(0.0..1.0e6).contains(&seconds) {
        return Err(format!("{text} seconds is out of range"));
    }
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

fn address(words: &mut Words<'_>) -> Said<Address> {
    let word = words.bare("an address")?;
    Address::parse(word)
        .ok_or_else(|| format!("{word} is not an address such as 192.0.2.1 or tcp:192.0.2.1:5070"))
}

fn peer(words: &mut Words<'_>) -> Said<Declared> {
    let name = words.bare("a name")?.to_string();
    words.need("=")?;
    let at = address(words)?;
    let (mut says, mut listener) = (None, None);
    let (mut ignores_record_route, mut ignores_probes) = (false, None);
    let (mut options, mut answers, mut hangs) = (None, None, false);
    while !words.0.is_empty() {
        match words.bare("says, on, ignores, options, answers or hangs")? {
            "options" => options = Some(words.number("a final code")?),
            "answers" => answers = Some(words.number("a final code")?),
            "hangs" => hangs = true,
            "says" => says = Some(address(words)?),
            "on" => listener = Some(words.bare("a listener's name")?.to_string()),
            "ignores" => match words.bare("record-route or probes")? {
                "record-route" => ignores_record_route = true,
                "probes" => {
                    let after = words.take("after");
                    let from = if after {
                        time(words.bare("a time")?)?
                    } else {
                        Duration::ZERO
                    };
                    ignores_probes = Some(from);
                }
                other => {
                    return Err(format!(
                        "a peer ignores record-route or probes, not {other}"
                    ));
                }
            },
            other => {
                return Err(format!(
                    "{other}: a peer has says, on, ignores, options, answers, hangs"
                ));
            }
        }
    }
    Ok(Declared::Peer {
        name,
        at,
        says,
        listener,
        ignores_record_route,
        ignores_probes,
        options,
        answers,
        hangs,
    })
}

fn some(words: &mut Words<'_>) -> Said<Declared> {
    let mut names = Vec::new();
    while !words.take("=") {
        names.push(words.bare("a name or =")?.to_string());
    }
    let mut at = Vec::new();
    while !words.0.is_empty() {
        at.push(address(words)?);
    }
    if names.len() != at.len() {
        return Err(format!("{} names for {} addresses", names.len(), at.len()));
    }
    Ok(Declared::Some { names, at })
}

fn name_change(words: &mut Words<'_>) -> Said<(String, NameChange)> {
    let name = words.bare("a name")?.to_string();
    let change = match words.bare("=, fails or absent")? {
        "fails" => NameChange::Fails,
        "absent" => NameChange::Records(Vec::new()),
        "=" => {
            let mut records = Vec::new();
            while !words.0.is_empty() {
                let word = words.bare("a record")?;
                let record = Record::parse(word).ok_or_else(|| {
                    format!("{word} is no record such as 192.0.2.1 or 192.0.2.1@10/60")
                })?;
                records.push(record);
            }
            NameChange::Records(records)
        }
        other => {
            return Err(format!(
                "dns {name} {other}: expected = addresses, fails or absent"
            ));
        }
    };
    Ok((name, change))
}

fn order(words: &mut Words<'_>) -> Said<Action> {
    let drained = match words.bare("DRAIN or RETURN")? {
        "DRAIN" => true,
        "RETURN" => false,
        other => return Err(format!("{other}: an operator says DRAIN or RETURN")),
    };
    Ok(Action::Target {
        trunk: words.bare("a trunk")?.to_string(),
        target: words.bare("a target")?.to_string(),
        drained,
    })
}

fn action(words: &mut Words<'_>) -> Said<Action> {
    match words.bare("who speaks, or dns, drain, drill, restart, reload, expect")? {
        "dns" => name_change(words).map(|(name, change)| Action::Names(name, change)),
        "drain" => Ok(Action::Drain),
        "restart" => Ok(Action::Restart),
        "drill" => {
            let (trunk, number) = (words.bare("a trunk")?, words.bare("a number")?);
            let seconds = words.bare("seconds")?;
            Ok(Action::Drill {
                trunk: trunk.to_string(),
                number: number.to_string(),
                seconds: seconds
                    .parse()
                    .map_err(|_| format!("{seconds}: expected whole seconds"))?,
            })
        }
        "reload" => Ok(Action::Reload(words.bare("a file")?.to_string())),
        "expect" => expect(words),
        from => {
            words.need("->")?;
            let to = words.bare("whom")?;
            match (from, to) {
                ("trunkline", "webhook") => http_expect(words),
                ("trunkline", to) => Ok(Action::Expect {
                    to: to.to_string(),
                    message: wire(words)?,
                }),
                ("webhook", "trunkline") => http_answer(words).map(Action::HttpAnswer),
                ("net", "trunkline") => lost(words),
                ("operator", "trunkline") => order(words),
                ("shard", "trunkline") => {
                    let is = state(words)?;
                    Ok(Action::Shard {
                        peer: words.bare("a peer")?.to_string(),
                        is,
                    })
                }
                (from, "trunkline") => Ok(Action::Send {
                    from: from.to_string(),
                    message: wire(words)?,
                }),
                (from, to) => Err(format!("{from} -> {to}: one of the two is trunkline")),
            }
        }
    }
}

fn expect(words: &mut Words<'_>) -> Said<Action> {
    match words.bare("health, calls or share")? {
        "health" => {
            let peer = words.bare("a peer")?.to_string();
            Ok(Action::Health {
                peer,
                is: state(words)?,
            })
        }
        "calls" => words.number("a number of calls").map(Action::Calls),
        "share" => {
            let mut shares = Vec::new();
            while !words.0.is_empty() {
                let peer = words.bare("a peer")?.to_string();
                let percent = words.bare("a share in percent")?;
                let number = percent
                    .strip_suffix('%')
                    .and_then(|number| number.parse().ok());
                shares.push((
                    peer,
                    number.ok_or_else(|| format!("{percent} is no share such as 60%"))?,
                ));
            }
            Ok(Action::Share(shares))
        }
        other => Err(format!(
            "expect {other}: there is expect health, calls, share"
        )),
    }
}

fn state(words: &mut Words<'_>) -> Said<HealthState> {
    let word = words.bare("up, suspect, down or paused")?;
    [
        HealthState::Up,
        HealthState::Suspect,
        HealthState::Down,
        HealthState::Paused,
    ]
    .into_iter()
    .find(|state| state.word().eq_ignore_ascii_case(word))
    .ok_or_else(|| format!("{word} is none of up, suspect, down, paused"))
}

fn lost(words: &mut Words<'_>) -> Said<Action> {
    let word = words.bare("UNREACHABLE, REFUSED, CONNECT_TIMEOUT, CLOSED or TLS")?;
    let why = [
        HopLoss::Unreachable,
        HopLoss::Refused,
        HopLoss::ConnectTimeout,
        HopLoss::Closed,
        HopLoss::Limit,
        HopLoss::Tls,
    ]
    .into_iter()
    .find(|why| why.word().eq_ignore_ascii_case(word))
    .ok_or_else(|| format!("{word} is no way to lose a hop"))?;
    Ok(Action::Lost {
        peer: words.bare("a peer")?.to_string(),
        why,
    })
}

fn http_answer(words: &mut Words<'_>) -> Said<Answer> {
    let first = words.bare("a status or FAILED")?;
    if first == "FAILED" {
        let word = words.bare("how")?;
        return [
            HttpFailure::Connect,
            HttpFailure::Tls,
            HttpFailure::Timeout,
            HttpFailure::Broken,
            HttpFailure::TooLarge,
            HttpFailure::Busy,
        ]
        .into_iter()
        .find(|failure| failure.word() == word)
        .map(Answer::HttpFailed)
        .ok_or_else(|| {
            format!("{word} is none of connect, tls, timeout, broken, too_large, busy")
        });
    }
    let status = first
        .parse()
        .map_err(|_| format!("{first} is neither a status nor FAILED"))?;
    let mut content_type = "application/xml".to_string();
    if words.take("type") {
        content_type = String::from_utf8_lossy(words.quoted("a content type")?).into_owned();
    }
    let body = if words.0.is_empty() {
        Vec::new()
    } else {
        words.quoted("a body")?.to_vec()
    };
    Ok(Answer::Http {
        status,
        content_type,
        body,
    })
}

fn http_expect(words: &mut Words<'_>) -> Said<Action> {
    let method = words.bare("GET or POST")?.to_string();
    let url = words.bare("a URL")?.to_string();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    while !words.0.is_empty() {
        let list = if words.take("with") {
            &mut with
        } else {
            words.need("without")?;
            &mut without
        };
        list.push(String::from_utf8_lossy(words.quoted("text")?).into_owned());
    }
    Ok(Action::HttpExpect {
        method,
        url,
        with,
        without,
    })
}

fn wire(words: &mut Words<'_>) -> Said<Wire> {
    let first = words.bare("a method, a code or raw")?;
    let kind = if first == "raw" {
        Kind::Raw(words.quoted("bytes")?.to_vec())
    } else if let Ok(code) = first.parse() {
        Kind::Response {
            code,
            about: optional(words, |word| word.chars().all(|c| c.is_ascii_uppercase())),
        }
    } else {
        Kind::Request {
            method: first.to_string(),
            uri: optional(words, |word| word.contains(':')),
        }
    };
    let mut wire = Wire {
        kind,
        call: None,
        with: Vec::new(),
        without: Vec::new(),
        body: None,
        again: false,
        returned: false,
        speaks_for: None,
        times: None,
    };
    while !words.0.is_empty() {
        match words.bare("[call], with, without, body, again, returned, for or xN")? {
            "with" => wire.with.push(words.quoted("text")?.to_vec()),
            "without" => wire.without.push(words.quoted("text")?.to_vec()),
            "body" => wire.body = Some(words.quoted("a body")?.to_vec()),
            "again" => wire.again = true,
            "returned" => wire.returned = true,
            "for" => wire.speaks_for = Some(words.bare("a peer")?.to_string()),
            other => match (other.strip_prefix('['), other.strip_prefix('x')) {
                (Some(call), _) if call.ends_with(']') => {
                    wire.call = Some(call[..call.len() - 1].to_string())
                }
                (_, Some(times)) => {
                    let times = times
                        .parse()
                        .map_err(|_| format!("{other} is no number of calls such as x100"))?;
                    wire.times = Some(times);
                }
                _ => {
                    return Err(format!(
                        "{other}: a message has [call], with, without, body, again, returned, for, xN"
                    ));
                }
            },
        }
    }
    Ok(wire)
}

/// The next word if it is bare and fits.
fn optional(words: &mut Words<'_>, fits: impl Fn(&str) -> bool) -> Option<String> {
    match words.0.first() {
        Some(Word::Bare(word)) if fits(word) => {
            words.0 = &words.0[1..];
            Some(word.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_understood_is_named_with_what_would_be_right() {
        let table = [
            ("# p\nconfg x", 2, "unknown"),
            ("0.0 pbx -> carrier INVITE", 1, "trunkline"),
            ("1.0 drain\n0.5 drain", 2, "forward"),
            ("0.0 pbx -> trunkline INVITE maybe", 1, "[call]"),
            ("peer pbx = nowhere", 1, "address"),
            ("some a b = 192.0.2.1", 1, "2 names"),
            ("dns a.test becomes 1", 1, "absent"),
            ("0.0 expect health 192.0.2.1 fine", 1, "paused"),
            ("0.0 net -> trunkline BROKEN 192.0.2.1", 1, "lose"),
            ("0.0 webhook -> trunkline maybe", 1, "FAILED"),
            ("config <<\na = 1", 1, ">>"),
            ("rest assured", 1, "rest empty"),
            ("0.0 drain now", 1, "nothing is expected"),
            ("x.y drain", 1, "unknown"),
        ];
        for (text, line, part) in table {
            let error = Script::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.what.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_block_keeps_its_folds_and_loses_its_indentation() {
        let script = Script::parse(
            "0.0 pbx -> trunkline raw <<\n    INVITE x SIP/2.0\n    Subject: a\n     b \\xff\n\n    >>\n1.0 drain",
        )
        .unwrap();
        let Action::Send { message, .. } = &script.steps[0].action else {
            panic!("{script:?}")
        };
        assert_eq!(
            message.kind,
            Kind::Raw(b"INVITE x SIP/2.0\r\nSubject: a\r\n b \xff\r\n\r\n".to_vec())
        );
        assert_eq!(script.steps.len(), 2);
    }
}
