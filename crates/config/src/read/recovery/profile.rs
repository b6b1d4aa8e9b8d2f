//! What a service's own webhooks are like (FACTS F2.3 to F2.5).

use std::time::Duration;

use trunkline_proxy::{
    question::HttpMethod,
    settings::{CodeSet, Format, RepeatOn},
};

pub(super) struct Profile {
    pub method: HttpMethod,
    pub format: Format,
    pub connect: Duration,
    pub read: Duration,
    pub exchange: Duration,
    pub repeat: RepeatOn,
}

impl Profile {
    pub fn of(name: &str) -> Option<Profile> {
        const SECOND: Duration = Duration::from_secs(1);
        let twilio = || Profile {
            method: HttpMethod::Post,
            format: Format::Twilio,
            connect: 5 * SECOND,
            read: 15 * SECOND,
            exchange: 15 * SECOND,
            repeat: RepeatOn {
                connect: true,
                ..RepeatOn::none()
            },
        };
        match name {
            "twilio" => Some(twilio()),
            "vonage" => {
                let mut codes = CodeSet::empty();
                [429, 503, 504]
                    .into_iter()
                    .for_each(|code| codes.insert(code));
                Some(Profile {
                    method: HttpMethod::Get,
                    format: Format::Vonage,
                    connect: SECOND,
                    read: 5 * SECOND,
                    exchange: 6 * SECOND,
                    repeat: RepeatOn {
                        codes,
                        connect: true,
                        read: true,
                        closed: true,
                    },
                })
            }
            "exotel" => Some(Profile {
                repeat: RepeatOn::all(),
                ..twilio()
            }),
            _ => None,
        }
    }
}
