//! `Pause`: nothing happens for a while; the caller keeps waiting for its answer.

use std::time::Duration;

use roxmltree::Node;

use super::{
    super::{document::Notes, twiml},
    short,
};

/// A pause; how much of it is granted is the call's to decide.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pause {
    /// As long as the document says.
    pub length: Duration,
}

/// All pauses of one call together. A caller that hears nothing hangs up, and its own timers run.
pub const ALL_MAX: Duration = Duration::from_secs(15);

/// Reads `<Pause length="2"/>`; 1 s when it does not say.
pub fn read(node: Node<'_, '_>, notes: &mut Notes) -> Pause {
    let seconds = match node.attribute("length") {
        None => 1,
        Some(text) => text.trim().parse::<u16>().unwrap_or_else(|_| {
            let text = short(text);
            twiml::note(
                notes,
                node,
                format!("length=\"{text}\" is not a number of seconds; 1 is used"),
            );
            1
        }),
    };
    Pause {
        length: Duration::from_secs(seconds.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verb, document, only},
        *,
    };

    #[test]
    fn a_pause_is_in_seconds_and_one_when_it_does_not_say() {
        for (text, seconds) in [
            ("<Pause/>", 1),
            ("<Pause length='0'/>", 0),
            ("<Pause length=' 7 '/>", 7),
            ("<Pause length='999'/>", 999),
        ] {
            assert_eq!(
                only(text),
                Verb::Pause(Pause {
                    length: Duration::from_secs(seconds)
                })
            );
        }
    }

    #[test]
    fn a_length_that_is_no_number_is_noted_and_one_second() {
        for length in ["-1", "2s", "", "99999999999999"] {
            let read = document(&format!("<Pause length='{length}'/>")).unwrap();
            assert_eq!(
                read.verbs,
                [Verb::Pause(Pause {
                    length: Duration::from_secs(1)
                })]
            );
            assert!(
                read.notes[0].to_string().contains("length="),
                "{:?}",
                read.notes
            );
        }
    }
}
