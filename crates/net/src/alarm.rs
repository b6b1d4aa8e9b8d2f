//! The loop's alarm: a timer of the system's (`timerfd(2)`) that stays set from sleep to sleep.
//!
//! A sleep with a time limit sets a timer before and takes it back after: at every packet, and in a
//! virtual machine both leave the machine. Deadlines move far less often than packets come.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

use trunkline_proxy::Moment;

use crate::clock::ShardClock;

pub(crate) struct Alarm {
    timer: OwnedFd,
    clock: ShardClock,
    rings_at: Moment,
}

impl Alarm {
    /// One that is not set.
    pub(crate) fn new(clock: ShardClock) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let timer = checked(unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
            )
        })?;
        Ok(Alarm {
            // SAFETY: the system has just opened it for us, and nobody else knows of it.
            timer: unsafe { OwnedFd::from_raw_fd(timer) },
            clock,
            rings_at: Moment::NEVER,
        })
    }

    /// To wait for: it is readable once the alarm rang.
    pub(crate) fn fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Makes sure that it rings at `deadline`, which is after `now`. It may ring before that too.
    ///
    /// `now` was read after the last wait: an alarm whose time has come since then is still to be
    /// waited for, and ends the next wait at once.
    #[inline]
    pub(crate) fn ring_by(&mut self, now: Moment, deadline: Moment) -> io::Result<()> {
        if now < self.rings_at && self.rings_at <= deadline {
            return Ok(());
        }
        self.ring_at(deadline)
    }

    #[inline(never)]
    fn ring_at(&mut self, deadline: Moment) -> io::Result<()> {
        self.rings_at = Moment::NEVER;
        self.set(deadline.saturating_duration_since(self.clock.now()))?;
        self.rings_at = deadline;
        Ok(())
    }

    fn set(&self, from_now: Duration) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid value of this plain C struct.
        let mut time: libc::itimerspec = unsafe { mem::zeroed() };
        // A year is for ever here; zero would take the alarm back.
        time.it_value.tv_sec = from_now.as_secs().min(31_536_000) as libc::time_t;
        time.it_value.tv_nsec = from_now.subsec_nanos().max(1).into();
        // SAFETY: the time lives until the call ends, and the old one is not asked for.
        let set = unsafe { libc::timerfd_settime(self.fd(), 0, &raw const time, ptr::null_mut()) };
        checked(set).map(drop)
    }
}

/// What a system call gave, or why it failed.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// How often it rang since it was set, zero when it did not. Reading it makes it silent.
    fn rang(alarm: &Alarm) -> u64 {
        let mut times = 0u64;
        // SAFETY: eight bytes of room for the eight that a timer gives.
        let read = unsafe { libc::read(alarm.fd(), (&raw mut times).cast(), 8) };
        if read == 8 { times } else { 0 }
    }

    fn clock() -> ShardClock {
        ShardClock::new(Instant::now())
    }

    #[test]
    fn an_alarm_that_rings_early_enough_is_left_and_a_later_one_is_set_earlier() {
        let clock = clock();
        let mut alarm = Alarm::new(clock).expect("a timer");
        let now = clock.now();
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        for (deadline, rings_at) in [
            (60_000, 60_000),
            (90_000, 60_000),
            (60_000, 60_000),
            (20, 20),
            (30_000, 20),
        ] {
            alarm.ring_by(now, after(deadline)).expect("set");
            assert_eq!(alarm.rings_at, after(rings_at), "{deadline} ms");
        }
        assert_eq!(rang(&alarm), 0, "too early");
        while rang(&alarm) == 0 {
            assert!(clock.now() < after(10_000), "it never rings");
            std::thread::yield_now();
        }
        assert!(clock.now() >= after(20));
    }

    #[test]
    fn an_alarm_whose_time_is_over_is_set_anew() {
        let clock = clock();
        let mut alarm = Alarm::new(clock).expect("a timer");
        let first = clock.now() + Duration::from_millis(1);
        alarm.ring_by(clock.now(), first).expect("set");
        while clock.now() < first {
            std::hint::spin_loop();
        }
        let second = first + Duration::from_secs(60);
        alarm.ring_by(clock.now(), second).expect("set");
        assert_eq!(alarm.rings_at, second);
    }
}
