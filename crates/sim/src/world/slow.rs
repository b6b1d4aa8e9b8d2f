//! The slow side of a world: DNS from the table, a webhook that does as the plan says.

use std::{collections::VecDeque, time::Duration};

use trunkline_proxy::{
    Question,
    question::{Answer, HttpFailure},
    settings::Listener,
};

use super::Webhook;
use crate::names::Names;

/// A lookup of a name that nobody configured takes so long.
const LOOKUP: Duration = Duration::from_millis(15);

pub(super) struct Slow {
    webhook: VecDeque<Webhook>,
}

impl Slow {
    pub fn new(webhook: Vec<Webhook>) -> Self {
        Slow {
            webhook: webhook.into(),
        }
    }

    /// The answer to a question, and how long it takes.
    pub fn answer(
        &mut self,
        question: &Question,
        names: &Names,
        listeners: &[Listener],
    ) -> (Duration, Answer) {
        match question {
            Question::Resolve(place) => {
                let candidates = names.resolve(place, listeners).candidates;
                (
                    LOOKUP,
                    Answer::Resolved {
                        candidates,
                        ttl: Duration::from_secs(30),
                    },
                )
            }
            Question::Http(request) => match self.webhook.pop_front() {
                Some(Webhook::Says(after, status, body)) if after < request.timeout => {
                    let content_type = "application/xml".to_string();
                    (
                        after,
                        Answer::Http {
                            status,
                            content_type,
                            body: body.into(),
                        },
                    )
                }
                Some(Webhook::Says(..) | Webhook::Hangs) => {
                    (request.timeout, Answer::HttpFailed(HttpFailure::Timeout))
                }
                Some(Webhook::Unreachable) | None => (
                    Duration::from_millis(3),
                    Answer::HttpFailed(HttpFailure::Connect),
                ),
            },
        }
    }
}
