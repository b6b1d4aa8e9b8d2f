//! `Reject`: the caller is refused, as unknown (404) or as busy (486).

use roxmltree::Node;

use super::{
    super::{document::Notes, twiml},
    short,
};

/// How the caller is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reject {
    /// `reason="rejected"`, the default.
    Rejected,
    /// `reason="busy"`.
    Busy,
}

impl Reject {
    /// The SIP response that stands for it.
    pub const fn response(self) -> (u16, &'static str) {
        match self {
            Reject::Rejected => (404, "Not Found"),
            Reject::Busy => (486, "Busy Here"),
        }
    }
}

/// Reads `<Reject reason="busy"/>`.
pub fn read(node: Node<'_, '_>, notes: &mut Notes) -> Reject {
    match node.attribute("reason") {
        None | Some("rejected") => Reject::Rejected,
        Some("busy") => Reject::Busy,
        Some(other) => {
            let other = short(other);
            twiml::note(
                notes,
                node,
                format!("reason=\"{other}\" is not rejected or busy; rejected is used"),
            );
            Reject::Rejected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verb, document, only},
        *,
    };

    #[test]
    fn a_reason_becomes_the_code_that_twilio_sends() {
        for (text, status) in [
            ("<Reject/>", 404),
            ("<Reject reason='rejected'/>", 404),
            ("<Reject reason='busy'/>", 486),
        ] {
            let Verb::Reject(reject) = only(text) else {
                panic!("{text}")
            };
            assert_eq!(reject.response().0, status, "{text}");
        }
    }

    #[test]
    fn an_unknown_reason_still_rejects() {
        let read = document("<Reject reason='tired'/>").unwrap();
        assert_eq!(read.verbs, [Verb::Reject(Reject::Rejected)]);
        assert!(
            read.notes[0].to_string().contains("tired"),
            "{:?}",
            read.notes
        );
    }
}
