//! When a server's certificate expires.
//!
//! rustls checks that and does not say it, so `notAfter` is read here: the one field, along the
//! path of X.509 that leads to it (RFC 5280 §4.1), bounds checked at every step.

/// Seconds since 1970 at which a DER certificate expires; `None` when it cannot be read.
pub fn expires(der: &[u8]) -> Option<u64> {
    let certificate = Der(der).next(SEQUENCE)?.1;
    let mut tbs = Der(certificate).next(SEQUENCE)?.1;
    // [0] version, where it is there; serialNumber, signature, issuer.
    if tbs.first() == Some(&VERSION) {
        tbs = Der(tbs).next(VERSION)?.0;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        tbs = Der(tbs).next(tag)?.0;
    }
    let validity = Der(tbs).next(SEQUENCE)?.1;
    let (rest, _) = Der(validity).any()?;
    match *rest.first()? {
        UTC_TIME => time(Der(rest).next(UTC_TIME)?.1, 2),
        _ => time(Der(rest).next(GENERALIZED_TIME)?.1, 4),
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// What follows an element with this tag, and what is inside it.
    fn next(&self, tag: u8) -> Option<(&'d [u8], &'d [u8])> {
        (*self.0.first()? == tag).then(|| self.any()).flatten()
    }

    fn any(&self) -> Option<(&'d [u8], &'d [u8])> {
        let first = usize::from(*self.0.get(1)?);
        let (length, head) = if first < 0x80 {
            (first, 2)
        } else {
            // No certificate needs more than four bytes of length.
            let count = first & 0x7f;
            let bytes = self.0.get(2..2 + count).filter(|_| count <= 4)?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| (length << 8) | usize::from(*byte));
            (length, 2 + count)
        };
        let inside = self.0.get(head..head.checked_add(length)?)?;
        Some((&self.0[head + length..], inside))
    }
}

/// "YYMMDDhhmmssZ" with `digits` 2, or with a year of four (RFC 5280 §4.1.2.5).
fn time(text: &[u8], digits: usize) -> Option<u64> {
    let number = |from: usize, count: usize| -> Option<i64> {
        let text = std::str::from_utf8(text.get(from..from + count)?).ok()?;
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let year = match (number(0, digits)?, digits) {
        (year, 2) if year >= 50 => 1900 + year,
        (year, 2) => 2000 + year,
        (year, _) => year,
    };
    let mut parts = [0; 5];
    for (at, part) in parts.iter_mut().enumerate() {
        *part = number(digits + 2 * at, 2)?;
    }
    let [month, day, hour, minute, second] = parts;
    let days = days_from_civil(year, month, day);
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March, so that a leap day is
/// their last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// "2026-11-22" of seconds since 1970.
pub fn date(unix: u64) -> String {
    let days = i64::try_from(unix / 86_400).unwrap_or_default() + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_real_certificate_is_read_and_of_garbage_is_not() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (year, month, day, unix) in [
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2028, 2, 29, 1_835_395_200),
        ] {
            let mut params = rcgen::CertificateParams::new(vec!["dr.test".into()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, month, day);
            let der = params.self_signed(&key).unwrap().der().to_vec();
            assert_eq!(expires(&der), Some(unix), "{year}");
            assert_eq!(date(unix), format!("{year}-{month:02}-{day:02}"));
            for cut in 0..der.len() {
                // Whatever is missing, nothing panics; what is left of notAfter is not misread.
                let got = expires(&der[..cut]);
                assert!(got.is_none() || got == Some(unix), "{cut}");
            }
        }
        for garbage in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x03\x30\x85\x01",
        ] {
            assert_eq!(expires(garbage), None);
        }
    }
}
