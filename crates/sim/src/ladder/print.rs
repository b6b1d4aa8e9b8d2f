//! [`Script`] to text. What is printed parses back to the same script; traces use the same words.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use trunkline_proxy::question::Answer;

use super::{
    script::{Action, Config, Declared, Kind, NameChange, Script, Step, Wire},
    words::quote,
};

/// Seconds with as many places as a script needs.
pub(crate) fn seconds(at: Duration) -> String {
    let (whole, micros) = (at.as_secs(), at.subsec_micros());
    if micros.is_multiple_of(1000) {
        format!("{whole}.{:03}", micros / 1000)
    } else {
        format!("{whole}.{micros:06}")
    }
}

/// One line of a ladder: when, who to whom, what.
pub(crate) fn line(at: Duration, from: &str, to: &str, what: &str) -> String {
    format!("{:>8}  {from:<12} -> {to:<12} {what}", seconds(at))
}

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for comment in &self.promise {
            writeln!(f, "{}", format!("# {comment}").trim_end())?;
        }
        match &self.config {
            Config::File(file) => writeln!(f, "config {file}")?,
            Config::Inline(text) if text.is_empty() => {}
            Config::Inline(text) => {
                writeln!(f, "config <<")?;
                for line in text.lines() {
                    writeln!(f, "{}", line.replace('\\', "\\\\"))?;
                }
                writeln!(f, ">>")?;
            }
        }
        for declared in &self.declared {
            writeln!(f, "{declared}")?;
        }
        for (name, change) in &self.names {
            writeln!(f, "dns {name} {change}")?;
        }
        if self.retransmissions_shown {
            writeln!(f, "retransmissions shown")?;
        }
        if self.probes_shown {
            writeln!(f, "probes shown")?;
        }
        if self.seed != 1 {
            writeln!(f, "seed {}", self.seed)?;
        }
        writeln!(f)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        if self.rest_empty {
            writeln!(f, "rest empty")?;
        }
        if let Some(calls) = self.rest_calls {
            writeln!(f, "rest calls {calls}")?;
        }
        Ok(())
    }
}

impl Display for Declared {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Declared::Peer {
                name,
                at,
                says,
                listener,
                ignores_record_route,
                ignores_probes,
                options,
                answers,
                hangs,
            } => {
                write!(f, "peer {name} = {at}")?;
                if let Some(says) = says {
                    write!(f, " says {says}")?;
                }
                if let Some(listener) = listener {
                    write!(f, " on {listener}")?;
                }
                if *ignores_record_route {
                    f.write_str(" ignores record-route")?;
                }
                match ignores_probes {
                    None => {}
                    Some(Duration::ZERO) => f.write_str(" ignores probes")?,
                    Some(from) => write!(f, " ignores probes after {}", seconds(*from))?,
                }
                if let Some(code) = options {
                    write!(f, " options {code}")?;
                }
                if let Some(code) = answers {
                    write!(f, " answers {code}")?;
                }
                if *hangs {
                    f.write_str(" hangs")?;
                }
                Ok(())
            }
            Declared::Some { names, at } => {
                write!(f, "some {} =", names.join(" "))?;
                at.iter().try_for_each(|at| write!(f, " {at}"))
            }
        }
    }
}

impl Display for NameChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NameChange::Fails => f.write_str("fails"),
            NameChange::Records(records) if records.is_empty() => f.write_str("absent"),
            NameChange::Records(records) => {
                f.write_str("=")?;
                for record in records {
                    write!(f, " {}", record.address)?;
                    if (record.priority, record.weight) != (0, 0) {
                        write!(f, "@{}/{}", record.priority, record.weight)?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let arrow = |from: &str, to: &str, what: &str| line(self.at, from, to, what);
        let plain = |what: String| format!("{:>8}  {what}", seconds(self.at));
        let text = match &self.action {
            Action::Send { from, message } => arrow(from, "trunkline", &message.to_string()),
            Action::Expect { to, message } => arrow("trunkline", to, &message.to_string()),
            Action::Lost { peer, why } => arrow(
                "net",
                "trunkline",
                &format!("{} {peer}", why.word().to_uppercase()),
            ),
            Action::HttpAnswer(answer) => arrow("webhook", "trunkline", &answer_text(answer)),
            Action::HttpExpect {
                method,
                url,
                with,
                without,
            } => {
                let parts = parts(
                    with.iter().map(|text| text.as_bytes()),
                    without.iter().map(|text| text.as_bytes()),
                );
                arrow("trunkline", "webhook", &format!("{method} {url}{parts}"))
            }
            Action::Names(name, change) => plain(format!("dns {name} {change}")),
            Action::Shard { peer, is } => arrow(
                "shard",
                "trunkline",
                &format!("{} {peer}", is.word().to_uppercase()),
            ),
            Action::Target {
                trunk,
                target,
                drained,
            } => {
                let word = if *drained { "DRAIN" } else { "RETURN" };
                arrow("operator", "trunkline", &format!("{word} {trunk} {target}"))
            }
            Action::Drain => plain("drain".into()),
            Action::Restart => plain("restart".into()),
            Action::Drill {
                trunk,
                number,
                seconds,
            } => plain(format!("drill {trunk} {number} {seconds}")),
            Action::Reload(file) => plain(format!("reload {file}")),
            Action::Health { peer, is } => plain(format!("expect health {peer} {}", is.word())),
            Action::Calls(calls) => plain(format!("expect calls {calls}")),
            Action::Share(shares) => {
                let shares: Vec<_> = shares
                    .iter()
                    .map(|(peer, percent)| format!("{peer} {percent}%"))
                    .collect();
                plain(format!("expect share {}", shares.join(" ")))
            }
            Action::Quiet => format!("nothing until {}", seconds(self.at)),
        };
        f.write_str(&text)
    }
}

/// What the webhook answers, as a script writes it.
pub(super) fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Http {
            status,
            content_type,
            body,
        } => {
            let mut text = status.to_string();
            if content_type != "application/xml" {
                text.push_str(&format!(" type {}", quote(content_type.as_bytes())));
            }
            if !body.is_empty() {
                text.push_str(&format!(" {}", quote(body)));
            }
            text
        }
        Answer::HttpFailed(failure) => format!("FAILED {}", failure.word()),
        Answer::Resolved { .. } | Answer::ResolveFailed => String::from("an answer of DNS"),
    }
}

fn parts<'p>(
    with: impl Iterator<Item = &'p [u8]>,
    without: impl Iterator<Item = &'p [u8]>,
) -> String {
    let with = with.map(|bytes| format!(" with {}", quote(bytes)));
    with.chain(without.map(|bytes| format!(" without {}", quote(bytes))))
        .collect()
}

impl Display for Wire {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Request { method, uri: None } => f.write_str(method)?,
            Kind::Request {
                method,
                uri: Some(uri),
            } => write!(f, "{method} {uri}")?,
            Kind::Response { code, about: None } => write!(f, "{code}")?,
            Kind::Response {
                code,
                about: Some(about),
            } => write!(f, "{code} {about}")?,
            Kind::Raw(bytes) => write!(f, "raw {}", quote(bytes))?,
        }
        if let Some(call) = &self.call {
            write!(f, " [{call}]")?;
        }
        if self.again {
            f.write_str(" again")?;
        }
        if self.returned {
            f.write_str(" returned")?;
        }
        if let Some(whom) = &self.speaks_for {
            write!(f, " for {whom}")?;
        }
        if let Some(times) = self.times {
            write!(f, " x{times}")?;
        }
        f.write_str(&parts(
            self.with.iter().map(Vec::as_slice),
            self.without.iter().map(Vec::as_slice),
        ))?;
        if let Some(body) = &self.body {
            write!(f, " body {}", quote(body))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every construct there is; line numbers are not part of what is promised.
    const ALL: &str = r#"# A promise,
# and where it is made.
config <<
[node]
name = "a \\ b"
>>
peer pbx = 10.0.1.5 says 192.168.1.7:5070 on inside ignores record-route ignores probes
peer sbc = 10.0.1.6 ignores probes after 5.5 options 503 answers 486
peer tar = tcp:10.0.1.7 hangs
some one two = 192.0.2.1 tcp:192.0.2.2:5070
dns a.test = 192.0.2.1 tcp:192.0.2.2@10/60
dns b.test fails
dns c.test absent
retransmissions shown
probes shown
seed 7

0.0 pbx -> trunkline INVITE sip:+15550100@a.test [b] with "X-A: 1" without "Contact" body "hi"
0.0 pbx -> trunkline INVITE again
0.0 pbx -> trunkline INVITE returned
0.0 pbx -> trunkline INVITE sip:1@a.test x1000
0.0 expect share one 60% two 40.5%
0.0 trunkline -> one INVITE x600
0.0 trunkline -> pbx 403 x0
0.5 trunkline -> one 200 CANCEL [b] with "a\r\nb \xff" without "c"
0.5 one -> trunkline 180
0.5 two -> trunkline 180 [b] for one
0.5005 pbx -> trunkline raw "\x00"
1.0 net -> trunkline UNREACHABLE one
1.0 net -> trunkline CONNECT_TIMEOUT one
1.0 shard -> trunkline DOWN one
1.0 operator -> trunkline DRAIN acme sip:10.0.1.7;transport=tcp
1.0 operator -> trunkline RETURN acme sip:10.0.1.7;transport=tcp
1.0 trunkline -> webhook POST https://dr.test/voice with "CallSid=" without "ct="
1.0 webhook -> trunkline 200 "<Response/>"
1.0 webhook -> trunkline 200 type "text/html" "oops"
1.0 webhook -> trunkline FAILED too_large
2.0 dns a.test = 192.0.2.3
2.0 dns a.test absent
2.0 drain
2.0 drill acme +1555* 60
2.0 restart
2.0 reload other.toml
nothing until 3.999
4.0 expect health one down
4.0 expect calls 3
rest empty
rest calls 1
"#;

    #[test]
    fn what_is_printed_parses_back_to_the_same_script() {
        let without_lines = |mut script: Script| {
            script.steps.iter_mut().for_each(|step| step.line = 0);
            script
        };
        let script = Script::parse(ALL).unwrap();
        let printed = script.to_string();
        let again = Script::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(without_lines(script), without_lines(again), "{printed}");
    }
}
