//! A list of changes to a message, written out in one pass.
//!
//! What is not changed is copied as it came. The list and the new bytes live inside the [`Edit`]
//! until they outgrow it: forwarding a usual request puts nothing on the heap.

use std::fmt;

use smallvec::SmallVec;

use crate::Span;
use crate::error::Malformed;
use crate::message::{Message, Split, Value};
use crate::name::Name;

/// Changes of one message before the list goes to the heap.
const OPS_INLINE: usize = 16;
/// New bytes in one message before they go to the heap: a Via, two Record-Routes, a Request-URI.
const SCRATCH_INLINE: usize = 768;

/// Changes to a [`Message`], in any order. Offsets are those of the message as it came.
pub struct Edit<'m, 'a> {
    message: &'m Message<'a>,
    /// By place; at one place insertions first, else in the order of the calls.
    ops: SmallVec<[Op; OPS_INLINE]>,
    scratch: SmallVec<[u8; SCRATCH_INLINE]>,
}

/// Puts `scratch[text]` where `at` was.
#[derive(Copy, Clone)]
struct Op {
    at: Span,
    text: Span,
}

impl Op {
    fn key(&self) -> (u32, bool) {
        (self.at.0, self.at.1 > self.at.0)
    }
}

/// Where new bytes are written. Formatting cannot fail.
pub struct Scratch<'e>(&'e mut SmallVec<[u8; SCRATCH_INLINE]>);

impl Scratch<'_> {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds a number in decimal digits.
    pub fn push_num(&mut self, number: u64) {
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        let mut rest = number;
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[start..]);
    }
}

impl fmt::Write for Scratch<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl<'m, 'a> Edit<'m, 'a> {
    /// No changes yet.
    pub fn new(message: &'m Message<'a>) -> Self {
        Edit {
            message,
            ops: SmallVec::new(),
            scratch: SmallVec::new(),
        }
    }

    /// Takes bytes out. What overlaps with another change is taken out once.
    pub fn delete(&mut self, at: Span) {
        if at.1 > at.0 {
            self.push(at, |_| ());
        }
    }

    /// Puts other bytes in the place of `at`.
    pub fn replace(&mut self, at: Span, with: &[u8]) {
        self.push(at, |scratch| scratch.push(with));
    }

    /// As [`Edit::replace`], with bytes that `f` writes.
    pub fn replace_fmt(&mut self, at: Span, f: impl FnOnce(&mut Scratch<'_>)) {
        self.push(at, f);
    }

    /// Puts bytes in before the byte at `at`. Several at one place keep the order of the calls, and
    /// come before what replaces the bytes there.
    pub fn insert(&mut self, at: u32, bytes: &[u8]) {
        self.push((at, at), |scratch| scratch.push(bytes));
    }

    /// As [`Edit::insert`], with bytes that `f` writes.
    pub fn insert_fmt(&mut self, at: u32, f: impl FnOnce(&mut Scratch<'_>)) {
        self.push((at, at), f);
    }

    /// Gives a request another Request-URI. A response has none, and stays as it is.
    pub fn request_uri(&mut self, uri: &[u8]) {
        if let Some(at) = self.message.request_uri_at() {
            self.replace(at, uri);
        }
    }

    /// Where the first header starts, right after the start line.
    pub fn headers_start(&self) -> u32 {
        self.message.headers_start()
    }

    /// Where the empty line after the headers starts: a line put in here is the last.
    pub fn headers_end(&self) -> u32 {
        self.message.headers_end()
    }

    /// Where the first header of that name starts, else where the first header of any name does.
    pub fn before_first(&self, name: Name) -> u32 {
        self.message
            .first(name)
            .map_or(self.headers_start(), |header| header.line.0)
    }

    /// Takes one value out of its header, with the comma that is too many then; the whole line when
    /// no value is left on it.
    pub fn remove_value(&mut self, value: &Value<'_>) {
        if value.alone {
            return self.delete(value.line);
        }
        let Some(header) = self.message.header_at(value.line.0) else {
            return;
        };
        // The run of removed values around this one decides which commas go with it.
        let mut run_start = None; // after the last value that stays
        let mut run_end = None; // the first value that stays
        let mut last_end = header.value_at.1;
        for sibling in Split::new(&header) {
            let gone = sibling.at == value.at || self.removes(sibling.at);
            if sibling.at.0 < value.at.0 && !gone {
                run_start = Some(sibling.at.1);
            } else if sibling.at.0 > value.at.0 && !gone && run_end.is_none() {
                run_end = Some(sibling.at.0);
            }
            if sibling.at.0 <= value.at.0 || (gone && run_end.is_none()) {
                last_end = sibling.at.1;
            }
        }
        match (run_start, run_end) {
            (None, None) => self.delete(header.line),
            (None, Some(stays)) => self.delete((header.value_at.0, stays)),
            (Some(stays), None) => self.delete((stays, header.value_at.1)),
            (Some(stays), Some(_)) => self.delete((stays, last_end)),
        }
    }

    /// Takes the topmost Via value out. Fails when there is none.
    pub fn remove_top_via(&mut self) -> Result<(), Malformed> {
        match self.message.values(Name::Via).next() {
            Some(value) => {
                self.remove_value(&value);
                Ok(())
            }
            None => self.message.top_via().map(drop),
        }
    }

    /// Adds a Content-Length when there is none: streams need one (RFC 3261 §18.3).
    pub fn content_length(&mut self) {
        if self.message.first(Name::ContentLength).is_none() {
            let length = self.message.body().len() as u64;
            self.insert_fmt(self.headers_end(), |line| {
                line.push(b"Content-Length: ");
                line.push_num(length);
                line.push(b"\r\n");
            });
        }
    }

    /// How many bytes [`Edit::write`] will write.
    pub fn written_len(&self) -> usize {
        let mut len = 0;
        self.pieces(|piece| len += piece.len());
        len
    }

    /// Appends the changed message to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.message.bytes().len() + self.scratch.len());
        self.pieces(|piece| out.extend_from_slice(piece));
    }

    fn pieces(&self, mut piece: impl FnMut(&[u8])) {
        let mut copied = 0; // of the message, up to here
        for op in &self.ops {
            if op.at.0 > copied {
                piece(self.message.part((copied, op.at.0)));
            }
            piece(
                self.scratch
                    .get(op.text.0 as usize..op.text.1 as usize)
                    .unwrap_or_default(),
            );
            copied = copied.max(op.at.1);
        }
        piece(
            self.message
                .bytes()
                .get(copied as usize..)
                .unwrap_or_default(),
        );
    }

    /// Whether one change takes all of `at` out.
    fn removes(&self, at: Span) -> bool {
        self.ops.iter().any(|op| {
            op.at.0 <= at.0 && at.1 <= op.at.1 && op.at.1 > op.at.0 && op.text.0 == op.text.1
        })
    }

    fn push(&mut self, at: Span, f: impl FnOnce(&mut Scratch<'_>)) {
        let text_start = self.scratch.len();
        f(&mut Scratch(&mut self.scratch));
        // A span that is not of this message is cut to it: wrong bytes, but no panic.
        let len = crate::message::span(self.message.bytes().len(), 0).0;
        let start = at.0.min(len);
        let op = Op {
            at: (start, at.1.clamp(start, len)),
            text: crate::message::span(text_start, self.scratch.len()),
        };
        debug_assert!(
            at.0 <= at.1 && at.1 <= len,
            "a span outside of the message: {at:?} of {len}"
        );
        let behind = self
            .ops
            .iter()
            .rev()
            .take_while(|other| other.key() > op.key())
            .count();
        self.ops.insert(self.ops.len() - behind, op);
    }
}

#[cfg(test)]
mod tests;
