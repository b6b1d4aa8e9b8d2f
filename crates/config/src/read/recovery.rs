//! `[trunk.disaster_recovery]`.

mod profile;
mod webhook;

use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trunkline_proxy::{
    question::{HttpMethod, Jwt, JwtKey, Secret, Source},
    recovery::document::{MediaUse, Reading},
    settings::{Format, LastResort, Recovery, RepeatOn, Webhook},
};

use crate::{
    keys,
    read::{Context, attempts, node::secret, place},
    walk::{Section, Value, shorten},
};
use profile::Profile;

pub(super) fn read(section: &Section<'_>, trunk: &str, context: &mut Context<'_>) -> Recovery {
    let media = media(section, context);
    let mode = section.word("media_mode");
    let media_use = match (&media, mode) {
        (None, _) => MediaUse::None,
        (Some(_), "early") => MediaUse::Early,
        (Some(_), _) => MediaUse::Answers,
    };
    let context = &*context;
    let profile = Profile::of(section.word("profile"));
    let given = |name: &str| section.written(name).is_some() || profile.is_none();
    let lasts = |name: &str, usual: fn(&Profile) -> std::time::Duration| match &profile {
        Some(profile) if !given(name) => usual(profile),
        _ => section.duration(name),
    };
    let record_page = record_page(section, media.is_some());
    let reading = Reading {
        base: None,
        media: media_use,
        record_page: record_page.as_deref(),
    };
    let document = |value: Option<Value<'_>>, name: &str| {
        let text = value.as_ref().and_then(|_| section.text(name))?;
        webhook::read(&value?, &text, reading, context)
    };
    let (url, fallback_url) = (
        document(section.required("url"), "url"),
        document(section.written("fallback_url"), "fallback_url"),
    );
    let recovery = Recovery {
        trunk: trunk.into(),
        url: url.unwrap_or_else(|| Webhook::Url("".into())),
        fallback_url,
        method: match (&profile, section.word("method")) {
            (Some(profile), _) if !given("method") => profile.method,
            (_, "GET") => HttpMethod::Get,
            _ => HttpMethod::Post,
        },
        format: match (&profile, section.word("format")) {
            (Some(profile), _) if !given("format") => profile.format,
            (_, "vonage") => Format::Vonage,
            _ => Format::Twilio,
        },
        connect_timeout: lasts("connect_timeout", |profile| profile.connect),
        read_timeout: lasts("read_timeout", |profile| profile.read),
        timeout: lasts("timeout", |profile| profile.exchange),
        total_timeout: section.duration("total_timeout"),
        retries: u8::try_from(section.number("retries")).unwrap_or_default(),
        retry_after: lasts("retry_after", |_| std::time::Duration::ZERO),
        retry_on: match profile {
            Some(profile) if !given("retry_on") => profile.repeat,
            _ => repeat_on(section),
        },
        auth_token: file(section, "auth_token_file", context),
        jwt: jwt(section, context),
        sources: section
            .items("sources")
            .iter()
            .filter_map(|value| source(value))
            .collect(),
        max_requests: section.number_u32("max_requests"),
        last_resort: last_resort(section, media.is_some()),
        media,
        media_early: media_use == MediaUse::Early,
        record_page,
        check_every: section.duration_or_off("check_every"),
    };
    if let Some(value) = section
        .written("connect_timeout")
        .filter(|_| recovery.connect_timeout > recovery.timeout)
    {
        value.warn(
            "connect_timeout is longer than timeout, which ends the exchange first",
            "make it shorter than timeout",
        );
    }
    if let Some(value) = section
        .written("media_mode")
        .filter(|_| recovery.media.is_none() && mode == "early")
    {
        value.warn(
            "media_mode has no effect without media",
            "write media = \"sip:...\", or remove media_mode",
        );
    }
    recovery
}

fn file(section: &Section<'_>, name: &str, context: &Context<'_>) -> Option<Secret> {
    let value = section.written(name)?;
    let file = section.text(name)?;
    secret(&value, &context.resolve(&file), 1, context.environment)
}

fn jwt(section: &Section<'_>, context: &Context<'_>) -> Option<Arc<Jwt>> {
    let shared = file(section, "jwt_secret_file", context).map(JwtKey::Hs256);
    let rsa = section.written("jwt_key_file").and_then(|value| {
        let key = file(section, "jwt_key_file", context)?;
        if shared.is_some() {
            value.warn(
                "jwt_secret_file is there too, and signs",
                "remove one of the two",
            );
        }
        let der = pkcs8(&key);
        if der.is_none() {
            value.fault(
                "the file holds no RSA key in PKCS #8 and PEM (-----BEGIN PRIVATE KEY-----)",
                "convert it: openssl pkcs8 -topk8 -nocrypt -in key.pem",
            );
        }
        der.map(JwtKey::Rs256)
    });
    let text = |name: &str| section.text(name).map(Into::into);
    Some(Arc::new(Jwt {
        key: shared.or(rsa)?,
        issuer: text("jwt_issuer").unwrap_or_default(),
        api_key: text("jwt_api_key"),
        application_id: text("jwt_application_id"),
    }))
}

/// The DER inside a PEM file's private key.
fn pkcs8(Secret(pem): &Secret) -> Option<Secret> {
    let pem = std::str::from_utf8(pem).ok()?;
    let (_, after) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = after.split_once("-----END PRIVATE KEY-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok().map(|der| Secret(der.into()))
}

fn media(section: &Section<'_>, context: &mut Context<'_>) -> Option<Arc<str>> {
    let value = section.written("media")?;
    let text = section.text("media")?;
    if !text.starts_with("sip:") {
        let message = format!("media = {:?} is no SIP URI", shorten(&text));
        value.fault(message, "write \"sip:media.example.net\"");
        return None;
    }
    // A place of its own: the name is known before a call needs it.
    place::read(&value, &text, None, context)?;
    Some(text.into())
}

fn record_page(section: &Section<'_>, media: bool) -> Option<Arc<str>> {
    let value = section.written("record_page")?;
    let text = section.text("record_page")?;
    if !media {
        value.warn(
            "record_page has no effect without media",
            "write media = \"sip:...\", or remove record_page",
        );
    }
    webhook::url(&value, &text).then(|| text.into())
}

fn last_resort(section: &Section<'_>, media: bool) -> LastResort {
    let text = section.text("last_resort").unwrap_or_default();
    let Some(value) = section.written("last_resort").filter(|_| text != "503") else {
        return LastResort::Reject;
    };
    if text.starts_with("https://") || text.starts_with("http://") {
        if !media {
            value.fault(
                "a message as the last resort needs a media server that plays it",
                "write media = \"sip:media.example.net\" too",
            );
        }
        return LastResort::Announce(text.into());
    }
    if trunkline_proxy::recovery::verb::dial::sip(&text).is_ok() {
        return LastResort::Dial(text.into());
    }
    value.fault(
        format!(
            "last_resort = {:?} is neither \"503\", a SIP URI nor the URL of a message",
            shorten(&text)
        ),
        "write \"503\", \"sip:duty@example.net\" or \"https://example.net/sorry.wav\"",
    );
    LastResort::Reject
}

fn repeat_on(section: &Section<'_>) -> RepeatOn {
    if section.written("retry_on").is_none() {
        return RepeatOn::all();
    }
    let mut repeat = RepeatOn::none();
    for value in section.items("retry_on") {
        match value.as_text() {
            Some("ct") => repeat.connect = true,
            Some("rt") => repeat.read = true,
            Some("closed") => repeat.closed = true,
            Some("all") => return RepeatOn::all(),
            _ => attempts::code_or_class(&value)
                .into_iter()
                .flatten()
                .for_each(|code| repeat.codes.insert(code)),
        }
    }
    repeat
}

fn source(value: &Value<'_>) -> Option<(Box<str>, Source)> {
    let table = value.section(&keys::SOURCE)?;
    table.required("name")?;
    let name = table.text("name")?;
    let source = match (table.text("address"), table.text("interface")) {
        (Some(address), None) => match address.parse::<IpAddr>() {
            Ok(address) => Source::Address(address),
            Err(_) => {
                let message = format!("{:?} is no address", shorten(&address));
                value.fault(message, "write address = \"192.0.2.7\"");
                return None;
            }
        },
        // The kernel's own limit, IFNAMSIZ.
        (None, Some(interface)) if (1..16).contains(&interface.len()) => {
            Source::Interface(interface.into())
        }
        _ => {
            value.fault(
                "a source needs an address or an interface, and not both",
                "write { name = \"dublin\", address = \"192.0.2.7\" }",
            );
            return None;
        }
    };
    Some((name.into(), source))
}
