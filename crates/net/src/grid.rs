//! How finely a shard's timers are told apart.

use std::time::Duration;

use trunkline_proxy::Moment;

/// Nothing against T1, and at most so many wakes a second however many calls there are.
const WIDTH: Duration = Duration::from_millis(4);

/// Points in time, evenly spaced from a start on. Deadlines that lie close together wake the shard
/// once, and a busy one looks at its timers so often and not after every packet.
pub(crate) struct Grid {
    start: Moment,
    /// The last answer, and the point before it: a deadline between them has the same, and most do.
    last: (Moment, Moment),
}

impl Grid {
    pub(crate) fn new(start: Moment) -> Self {
        Grid {
            start,
            last: (start, start),
        }
    }

    /// The first point that is not before `deadline`; of one that never comes, none.
    #[inline]
    pub(crate) fn point(&mut self, deadline: Moment) -> Moment {
        let (before, point) = self.last;
        if before < deadline && deadline <= point {
            return point;
        }
        self.another(deadline)
    }

    #[inline(never)]
    fn another(&mut self, deadline: Moment) -> Moment {
        if deadline == Moment::NEVER {
            return deadline;
        }
        let since = deadline.saturating_duration_since(self.start);
        // Numbers of nanoseconds last for 584 years.
        let (since, width) = (since.as_nanos() as u64, WIDTH.as_nanos() as u64);
        let points = since.div_ceil(width);
        let before = self.start + Duration::from_nanos(points.saturating_sub(1) * width);
        let point = self.start + Duration::from_nanos(points * width);
        self.last = (before, point);
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_never_before_a_deadline_and_less_than_a_width_after() {
        let start = Moment::EPOCH;
        let mut grid = Grid::new(start);
        for (deadline, expected) in [
            (0, 0),
            (1, 4_000),
            (3_999, 4_000),
            (4_000, 4_000),
            (4_001, 8_000),
            (8_000, 8_000),
            (3_000, 4_000),
            (0, 0),
            (9_999_999, 10_000_000),
        ] {
            let at = |microseconds| start + Duration::from_micros(microseconds);
            assert_eq!(grid.point(at(deadline)), at(expected), "{deadline}");
        }
        assert_eq!(grid.point(Moment::NEVER), Moment::NEVER);
    }
}
