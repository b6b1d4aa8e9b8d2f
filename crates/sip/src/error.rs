//! What can be wrong with a message, where, and how to answer it.

use crate::name::Name;

/// A message, or a part of one, that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} (byte {at})", .fault.reason())]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// Where: bytes from the start line, or from the start of the part that was parsed alone.
    pub at: usize,
}

impl Malformed {
    pub(crate) const fn new(fault: Fault, at: usize) -> Malformed {
        Malformed { fault, at }
    }
}

/// What is wrong with a message.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Nothing but line ends: a keep-alive, not a message.
    Empty,
    /// The first line is neither a request line nor a status line.
    StartLine,
    /// A SIP version other than 2.0.
    Version,
    /// The method is not a token.
    Method,
    /// The Request-URI cannot be read.
    RequestUri,
    /// The Request-URI's scheme is not one of sip, sips and tel.
    UriScheme,
    /// A status code outside 100 to 699.
    StatusCode,
    /// A header's name is not a token, or is longer than 255 bytes.
    HeaderName,
    /// A line that is no header: no colon, or a lone CR or LF in it.
    HeaderLine,
    /// More bytes than [`Limits::message`](crate::Limits::message).
    TooLarge,
    /// More headers than [`Limits::headers`](crate::Limits::headers).
    TooManyHeaders,
    /// A line, or a header with its folds, longer than [`Limits::line`](crate::Limits::line).
    LineTooLong,
    /// The empty line after the headers is missing.
    NoEndOfHeaders,
    /// A header that must be there is not.
    Missing(Name),
    /// A header that may be there once is there again.
    Repeated(Name),
    /// A header's value cannot be read.
    Bad(Name),
    /// CSeq names another method than the request line.
    CSeqMethod,
    /// Fewer body bytes than Content-Length says.
    BodyTooShort,
    /// Content-Length is no number, or two of them disagree.
    ContentLength,
    /// A URI or an address that was parsed by itself cannot be read.
    Uri,
}

impl Fault {
    /// A short word for counters. Which header it is about is left out, to keep their number small.
    pub const fn word(self) -> &'static str {
        match self {
            Fault::Empty => "empty",
            Fault::StartLine => "start_line",
            Fault::Version => "version",
            Fault::Method => "method",
            Fault::RequestUri => "request_uri",
            Fault::UriScheme => "uri_scheme",
            Fault::StatusCode => "status_code",
            Fault::HeaderName => "header_name",
            Fault::HeaderLine => "header_line",
            Fault::TooLarge => "too_large",
            Fault::TooManyHeaders => "too_many_headers",
            Fault::LineTooLong => "line_too_long",
            Fault::NoEndOfHeaders => "no_end_of_headers",
            Fault::Missing(_) => "missing_header",
            Fault::Repeated(_) => "repeated_header",
            Fault::Bad(_) => "bad_header",
            Fault::CSeqMethod => "cseq_method",
            Fault::BodyTooShort => "body_too_short",
            Fault::ContentLength => "content_length",
            Fault::Uri => "uri",
        }
    }

    /// The reason phrase of the answer: names the fault, so that the sender need not ask.
    pub const fn reason(self) -> &'static str {
        match self {
            Fault::Empty => "Empty Message",
            Fault::StartLine => "Bad Start Line",
            Fault::Version => "SIP Version Not Supported",
            Fault::Method => "Bad Method",
            Fault::RequestUri => "Bad Request-URI",
            Fault::UriScheme => "Unsupported URI Scheme",
            Fault::StatusCode => "Bad Status Code",
            Fault::HeaderName => "Bad Header Name",
            Fault::HeaderLine => "Bad Header Line",
            Fault::TooLarge => "Message Too Large",
            Fault::TooManyHeaders => "Too Many Headers",
            Fault::LineTooLong => "Header Line Too Long",
            Fault::NoEndOfHeaders => "No Empty Line After Headers",
            Fault::Missing(name) => name.missing(),
            Fault::Repeated(name) => name.repeated(),
            Fault::Bad(name) => name.bad(),
            Fault::CSeqMethod => "CSeq Method Differs From Request Method",
            Fault::BodyTooShort => "Body Shorter Than Content-Length",
            Fault::ContentLength => "Bad Content-Length Header",
            Fault::Uri => "Bad URI",
        }
    }

    /// The status code of the answer: 416, 505, 513, and 400 for all else.
    pub const fn status(self) -> u16 {
        match self {
            Fault::UriScheme => 416,
            Fault::Version => 505,
            Fault::TooLarge => 513,
            Fault::Empty
            | Fault::StartLine
            | Fault::Method
            | Fault::RequestUri
            | Fault::StatusCode
            | Fault::HeaderName
            | Fault::HeaderLine
            | Fault::TooManyHeaders
            | Fault::LineTooLong
            | Fault::NoEndOfHeaders
            | Fault::Missing(_)
            | Fault::Repeated(_)
            | Fault::Bad(_)
            | Fault::CSeqMethod
            | Fault::BodyTooShort
            | Fault::ContentLength
            | Fault::Uri => 400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_a_sentence_with_its_place() {
        let error = Malformed::new(Fault::Missing(Name::CSeq), 17);
        assert_eq!(error.to_string(), "Missing CSeq Header (byte 17)");
    }

    #[test]
    fn each_fault_has_the_status_the_rfc_gives_it() {
        assert_eq!(Fault::UriScheme.status(), 416);
        assert_eq!(Fault::Version.status(), 505);
        assert_eq!(Fault::TooLarge.status(), 513);
        assert_eq!(Fault::Repeated(Name::CallId).status(), 400);
    }
}
