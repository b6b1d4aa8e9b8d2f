//! Whether a message that Trunkline passed on is the one that came.

use crate::text::Text;

/// Headers that a proxy may change in a request (RFC 3261 §16.6).
const OURS: [&str; 4] = ["Via", "Route", "Record-Route", "Max-Forwards"];

fn rest<'t>(text: &'t Text, but: &[&str]) -> Vec<&'t (String, String)> {
    let kept =
        |(name, _): &&(String, String)| !but.iter().any(|but| name.eq_ignore_ascii_case(but));
    text.headers.iter().filter(kept).collect()
}

fn the_rest_is_the_same(came: &Text, went: &Text, but: &[&str]) -> Result<(), String> {
    if rest(came, but) != rest(went, but) {
        return Err(format!(
            "headers changed:\n{:#?}\n{:#?}",
            came.headers, went.headers
        ));
    }
    if came.body != went.body {
        return Err("the body changed".into());
    }
    Ok(())
}

/// One Via more, one hop less, nothing else changed.
pub(super) fn request_as_it_came(came: &Text, went: &Text) -> Result<(), String> {
    the_rest_is_the_same(came, went, &OURS)?;
    let hops = |text: &Text| {
        text.get("Max-Forwards")
            .and_then(|hops| hops.parse::<u32>().ok())
    };
    if hops(came).map(|hops| hops.saturating_sub(1)) != hops(went) {
        return Err(format!(
            "Max-Forwards {:?} became {:?}",
            hops(came),
            hops(went)
        ));
    }
    let (before, after) = (came.values("Via"), went.values("Via"));
    // `received` and a filled `rport` may have been noted in the first of them.
    let same = after.len() == before.len() + 1 && after[2..] == before[1..];
    if same {
        Ok(())
    } else {
        Err(format!("Via {before:?} became {after:?}"))
    }
}

/// Without the Via that was ours, and otherwise the same.
pub(super) fn response_as_it_came(came: &Text, went: &Text) -> Result<(), String> {
    the_rest_is_the_same(came, went, &["Via"])?;
    let (before, after) = (came.values("Via"), went.values("Via"));
    if before.get(1..) == Some(&after[..]) {
        Ok(())
    } else {
        Err(format!("Via {before:?} became {after:?}"))
    }
}
