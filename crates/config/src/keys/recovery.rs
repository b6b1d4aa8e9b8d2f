//! `[trunk.disaster_recovery]`.

use super::{
    Given::{Default, Optional, Required},
    HOUR, MINUTE, SECOND, key, lasts, lasts_or_off, number,
};
use crate::shape::{Kind, Shape};

/// What is left out is as `profile` says; the defaults shown hold without one.
pub(super) static RECOVERY: Shape = Shape {
    title: "[trunk.disaster_recovery]",
    about: "Asked when no target took the call. All exchanges for one document take 15 s at most.",
    keys: &[&[
        key(
            "profile",
            Kind::Word(&["twilio", "vonage", "exotel"]),
            Optional("\"twilio\""),
            "Timeouts, repeats, method and format as these services have them; what is written beside it counts more.",
        ),
        key(
            "url",
            Kind::Text,
            Required("\"https://dr.example.net/voice\""),
            "Answers with TwiML or NCCO. A fragment such as #ct=1000&rc=2 overrides what is below, as at Twilio (ct rt tt rc rp sni e). \"file:answer.xml\" is a fixed answer.",
        ),
        key(
            "fallback_url",
            Kind::Text,
            Optional("\"https://dr.example.org/voice\""),
            "Asked when the first gives nothing valid; may be a file too.",
        ),
        key(
            "method",
            Kind::Word(&["POST", "GET"]),
            Default("\"POST\""),
            "How both are asked; GET with profile \"vonage\".",
        ),
        key(
            "format",
            Kind::Word(&["twilio", "vonage"]),
            Default("\"twilio\""),
            "Twilio's parameters as a form, or Vonage's, as JSON when they are posted.",
        ),
        key(
            "connect_timeout",
            lasts(10, 15 * SECOND),
            Default("\"1s\""),
            "TCP and TLS may take so long (twilio, exotel: 5 s).",
        ),
        key(
            "read_timeout",
            lasts(10, 15 * SECOND),
            Default("\"5s\""),
            "Once connected, the answer's head may take so long, and every further piece (twilio, exotel: 15 s).",
        ),
        key(
            "timeout",
            lasts(10, 15 * SECOND),
            Default("\"5s\""),
            "One exchange may take so long (twilio, exotel: 15 s; vonage: 6 s).",
        ),
        key(
            "total_timeout",
            lasts(10, 15 * SECOND),
            Default("\"15s\""),
            "One URL may take so long with all its repeats; 5 s of the 15 are kept for the fallback.",
        ),
        key(
            "retries",
            number(0, 5),
            Default("1"),
            "Repeats of one URL after a failure.",
        ),
        key(
            "retry_after",
            lasts(0, 15 * SECOND),
            Default("\"1s\""),
            "Pause before a repeat (with a profile: none).",
        ),
        key(
            "retry_on",
            Kind::List("failures"),
            Default("[\"all\"]"),
            "What is repeated: \"ct\" (no connection), \"rt\" (too slow), \"closed\", codes and classes (429, \"5xx\"), \"all\". twilio: [\"ct\"]; vonage: [\"ct\", \"rt\", \"closed\", 429, 503, 504].",
        ),
        key(
            "auth_token_file",
            Kind::File,
            Optional("\"secrets/acme.token\""),
            "Signs requests (X-Twilio-Signature). A file, so that no secret stands here.",
        ),
        key(
            "jwt_secret_file",
            Kind::File,
            Optional("\"secrets/acme.signature\""),
            "Signs requests with a JWT (Authorization: Bearer, HS256), as Vonage does.",
        ),
        key(
            "jwt_key_file",
            Kind::File,
            Optional("\"secrets/acme.pem\""),
            "The same with RS256: an RSA key, PKCS #8 in PEM.",
        ),
        key("jwt_issuer", Kind::Text, Default("\"Vonage\""), "Its iss."),
        key(
            "jwt_api_key",
            Kind::Text,
            Optional("\"abcd1234\""),
            "Its api_key, which Vonage's applications look for.",
        ),
        key(
            "jwt_application_id",
            Kind::Text,
            Optional("\"aaaaaaaa-bbbb-cccc-dddd-0123456789ab\""),
            "Its application_id.",
        ),
        key(
            "sources",
            Kind::Items(&SOURCE),
            Default("[]"),
            "What e= in a URL may name: where a request leaves from. Each",
        ),
        key(
            "max_requests",
            number(1, 10_000),
            Default("256"),
            "Requests under way at once for this trunk; one more counts as failed at once.",
        ),
        key(
            "media",
            Kind::Text,
            Optional("\"sip:media.example.net\""),
            "A media server (RFC 4240): Say, Play, talk and stream are handed to it. Without one they are passed over.",
        ),
        key(
            "media_mode",
            Kind::Word(&["answer", "early"]),
            Default("\"answer\""),
            "The media server answers, and its message is the end; or it plays before it answers and then refuses, and the document goes on.",
        ),
        key(
            "record_page",
            Kind::Text,
            Optional("\"https://dr.example.net/voicemail.vxml\""),
            "The VoiceXML page that the media server runs where a document says Record or record: it takes the message, and knows where it goes.",
        ),
        key(
            "last_resort",
            Kind::Text,
            Default("\"503\""),
            "When nothing valid came: \"503\", a SIP URI to call, or the https URL of a message for the media server.",
        ),
        key(
            "check_every",
            lasts_or_off(MINUTE, 24 * 7 * HOUR),
            Default("\"off\""),
            "Tests the webhook this often, as `trunkline dr test` does.",
        ),
    ]],
};

/// A source written as a table.
pub(crate) static SOURCE: Shape = Shape {
    title: "a source",
    about: "sources",
    keys: &[&[
        key(
            "name",
            Kind::Text,
            Required("\"dublin\""),
            "What e= calls it.",
        ),
        key(
            "address",
            Kind::Text,
            Optional("\"192.0.2.7\""),
            "An address of this machine, or",
        ),
        key(
            "interface",
            Kind::Text,
            Optional("\"eth1\""),
            "a network interface.",
        ),
    ]],
};
