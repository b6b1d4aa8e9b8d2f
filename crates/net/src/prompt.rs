//! How soon a shard gets the processor when something has come for it.
#![allow(unsafe_code)]

use std::{io, mem};

/// What this thread asks to run at a stretch. Turns are shorter.
const SLICE_NANOS: u64 = 100_000;

/// Asks the scheduler for short turns instead of long ones (EEVDF's slice, Linux 6.12; earlier ones
/// take no notice). Whoever asks for less at a time gets it sooner: a packet then need not wait until
/// a thread that reads logs or compiles has had its three milliseconds. The share of the processor
/// stays what it is, and no privilege is needed.
///
/// A thread with a policy that somebody chose for it (real time, idle) keeps that.
pub(crate) fn be_prompt() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: 0 is this thread; the struct has room for `size` bytes.
    let got =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0_u32) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size = size;
    attributes.sched_runtime = SLICE_NANOS;
    // SAFETY: 0 is this thread; the struct lives until the call ends and says how long it is.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0_u32) };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_thread_may_ask_for_short_turns() {
        // Where a container forbids it or its kernel does not know it, a shard goes on without.
        if let Err(error) = super::be_prompt() {
            let not_here = [libc::ENOSYS, libc::EPERM];
            let number = error.raw_os_error().unwrap_or_default();
            assert!(
                not_here.contains(&number),
                "no privilege is needed: {error}"
            );
        }
    }
}
