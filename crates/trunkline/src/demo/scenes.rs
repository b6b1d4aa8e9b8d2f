//! The scenes, in the order they play. Each one leaves to the next what it broke.

use std::time::{Duration, Instant};

use trunkline_control::view::CallShown;

use super::{
    cast::PBXS,
    phone::{Line, Phone},
    stage::{Answered, Stage, Trouble, expect, say, table, tried},
    webhook,
};

/// How many scenes there are.
pub const COUNT: usize = 7;

/// All that was down takes calls again by then.
const BACK_MAX: Duration = Duration::from_secs(20);
/// A number somewhere in the world.
const OUT: &str = "+15550100";
/// A number of the office.
const IN: &str = "+35315550123";

/// A phone of the carrier, by its place in the cast.
fn carrier(stage: &Stage, at: usize) -> Line {
    stage.world.carrier[at].line()
}

/// A PBX, by its place in the cast.
fn pbx(stage: &Stage, at: usize) -> Line {
    stage.world.pbxs[at].line()
}

/// Plays all of them; the number of those that went as promised, and what stopped the next.
pub async fn play(stage: &mut Stage) -> (usize, Result<(), Trouble>) {
    for scene in 1..=COUNT {
        let done = match scene {
            1 => call_out(stage).await,
            2 => calls_in(stage).await,
            3 => an_address_falls_silent(stage).await,
            4 => an_edge_falls_silent(stage).await,
            5 => a_pbx_dies(stage).await,
            6 => all_pbxs_die(stage).await,
            _ => all_come_back(stage).await,
        };
        if let Err(trouble) = done {
            return (scene - 1, Err(trouble));
        }
    }
    (COUNT, Ok(()))
}

fn title(number: usize, text: &str) {
    say(&format!("\n{number}. {text}\n"));
}

fn shows(text: &str) {
    say(&format!("   => {text}"));
}

/// For a complaint.
fn rang_after(rang: Duration, record: &CallShown) -> String {
    format!(
        "it rang after {:.1} s: {}",
        rang.as_secs_f64(),
        tried(record)
    )
}

/// So that a ladder shows a call, and not only its beginning and its end.
async fn talk() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn call_out(stage: &mut Stage) -> Result<(), Trouble> {
    title(1, "A call out: PBX to carrier");
    let caller = pbx(stage, 0);
    let answered = stage.call(&caller, OUT).await?;
    talk().await;
    stage.hang_up(&caller, answered.call).await?;
    stage.ladder("pbx-1", &answered.record);
    expect(
        answered.by == "dublin-1",
        "dublin-1 to take the call",
        || format!("{} did", answered.by),
    )?;
    shows(
        "The first edge is Dublin, so its first address gets the call. The BYE finds its way by a\n      \
         signed Record-Route: it would after a restart of Trunkline, too.",
    );
    Ok(())
}

async fn calls_in(stage: &mut Stage) -> Result<(), Trouble> {
    title(2, "Calls in: carrier to PBXs, spread by weight");
    let caller = carrier(stage, 0);
    let answered = stage.call(&caller, IN).await?;
    talk().await;
    let taker = stage
        .world
        .pbxs
        .iter()
        .map(Phone::line)
        .find(|line| line.label() == answered.by);
    let ended = match taker {
        Some(line) => line.hang_up_taken(&answered.call.call_id).await,
        None => false,
    };
    stage.ladder("dublin-1", &answered.record);
    expect(ended, "a PBX to take the call and to hang up", || {
        format!("{} took it, and its BYE was not answered", answered.by)
    })?;

    let taken = stage.many(&caller, IN, 200).await?;
    say(&table(&taken));
    let of = |label: &str| taken.get(label).copied().unwrap_or(0);
    // Five standard deviations: chance alone does not get there in a million runs.
    let spread = (85..=155).contains(&of("pbx-1"))
        && (12..=68).contains(&of("pbx-2"))
        && (12..=68).contains(&of("pbx-3"))
        && of("spare") == 0;
    expect(spread, "about 120, 40, 40 and no call", || {
        format!("{taken:?}")
    })?;
    shows(
        "200 calls, spread over the PBXs of priority 10 in proportion to their weights. The spare\n      \
         has priority 20: it is not used while one of the others can be.",
    );
    Ok(())
}

async fn an_address_falls_silent(stage: &mut Stage) -> Result<(), Trouble> {
    title(3, "One address of the carrier falls silent");
    let caller = pbx(stage, 0);
    stage.world.carrier[0].fall_silent();
    let answered = stage.call(&caller, OUT).await?;
    let rang = answered.call.rang_after;
    talk().await;
    stage.hang_up(&caller, answered.call).await?;
    stage.ladder("pbx-1", &answered.record);
    let next = stage.call(&caller, OUT).await?;
    let next_rang = next.call.rang_after;
    stage.hang_up(&caller, next.call).await?;
    expect(
        answered.by == "dublin-2",
        "dublin-2 to take the call",
        || tried(&answered.record),
    )?;
    expect(
        (Duration::from_millis(3900)..Duration::from_millis(5500)).contains(&rang),
        "the call to ring after about 4.0 s",
        || rang_after(rang, &answered.record),
    )?;
    expect(
        next.by == "dublin-2" && next_rang < Duration::from_secs(2),
        "the next call at dublin-2 at once",
        || rang_after(next_rang, &next.record),
    )?;
    shows(&format!(
        "Silence at 0.0 s, the next address at 4.0 s (response_timeout), and the caller hears it\n      \
         ring. The next call does not wait: it goes to {} and rings after {:.1} s.",
        next.by,
        next_rang.as_secs_f64()
    ));
    Ok(())
}

async fn an_edge_falls_silent(stage: &mut Stage) -> Result<(), Trouble> {
    title(
        4,
        "The whole edge Dublin falls silent, with three calls on their way",
    );
    let caller = pbx(stage, 0);
    stage.world.carrier[1].fall_silent();
    let mut calls = stage.calls_at_once(&caller, OUT, 3).await?;
    let slowest = calls
        .iter()
        .map(|answered| answered.call.rang_after)
        .max()
        .unwrap_or_default();
    let (paths, takers): (Vec<_>, Vec<_>) = calls
        .iter()
        .map(|it| (tried(&it.record), it.by.clone()))
        .unzip();
    let shown = calls.remove(0);
    talk().await;
    stage.hang_up(&caller, shown.call).await?;
    for other in calls {
        stage.hang_up(&caller, other.call).await?;
    }
    stage.ladder("pbx-1", &shown.record);
    let next = stage.call(&caller, OUT).await?;
    let next_rang = next.call.rang_after;
    stage.hang_up(&caller, next.call).await?;
    expect(
        takers.iter().all(|taker| taker == "frankfurt"),
        "frankfurt to take all three",
        || paths.join("; "),
    )?;
    expect(
        slowest < Duration::from_millis(6500),
        "them to ring after 4.0 s or less",
        || {
            format!(
                "one rang after {:.1} s: {}",
                slowest.as_secs_f64(),
                paths.join("; ")
            )
        },
    )?;
    expect(
        next.by == "frankfurt" && next_rang < Duration::from_secs(2),
        "the next call in Frankfurt at once",
        || rang_after(next_rang, &next.record),
    )?;
    shows(&format!(
        "All three rang in Frankfurt after {:.1} s at most (above, the first of them). Dublin's\n      \
         first address is down since scene 3, so none of them waits for it again. The next call\n      \
         goes to {} and rings after {:.1} s.",
        slowest.as_secs_f64(),
        next.by,
        next_rang.as_secs_f64()
    ));
    Ok(())
}

async fn a_pbx_dies(stage: &mut Stage) -> Result<(), Trouble> {
    title(5, "A PBX dies: its machine refuses packets");
    let caller = carrier(stage, 2);
    stage.world.pbxs[0].die().await;
    // At 60 % each, one of twelve calls that come together meets it; chance says which.
    let mut met = None;
    let calls = stage.calls_at_once(&caller, IN, 12).await?;
    talk().await;
    for answered in calls {
        if tried(&answered.record).starts_with("pbx-1=") && met.is_none() {
            met = Some((answered.record, answered.call.rang_after));
        }
        stage.hang_up(&caller, answered.call).await?;
    }
    let Some((record, rang)) = met else {
        let found = "none did".into();
        return Err(Trouble::Unmet {
            expected: "one of 12 calls to meet pbx-1".into(),
            found,
        });
    };
    stage.ladder("frankfurt", &record);
    let taken = stage.many(&caller, IN, 100).await?;
    say(&table(&taken));
    expect(
        rang < Duration::from_secs(2),
        "the call to move on at once",
        || rang_after(rang, &record),
    )?;
    let of = |label: &str| taken.get(label).copied().unwrap_or(0);
    let spread = of("pbx-1") == 0 && of("spare") == 0 && (25..=75).contains(&of("pbx-2"));
    expect(
        spread,
        "about 50 and 50, and none for pbx-1 and the spare",
        || format!("{taken:?}"),
    )?;
    shows(
        "ICMP says that nobody listens there: the call moves on at once. pbx-1's share goes to its\n      \
         peers in proportion, so 60/20/20 becomes 50/50, and the spare still waits.",
    );
    Ok(())
}

async fn all_pbxs_die(stage: &mut Stage) -> Result<(), Trouble> {
    title(6, "All PBXs die");
    let caller = carrier(stage, 2);
    stage.world.pbxs[1].die().await;
    stage.world.pbxs[2].die().await;
    let spared = stage.call(&caller, IN).await?;
    say(&format!(
        "   Without pbx-2 and pbx-3, {} takes the call. Now it dies as well:\n",
        spared.by
    ));
    let spare_took = spared.by == "spare";
    stage.hang_up(&caller, spared.call).await?;
    expect(spare_took, "the spare to take the call", || {
        tried(&spared.record)
    })?;

    stage.world.pbxs[3].die().await;
    let asked_before = stage.world.webhook.asked();
    let answered = stage.call(&caller, IN).await?;
    talk().await;
    stage.hang_up(&caller, answered.call).await?;
    let asked = stage.world.webhook.asked() - asked_before;
    stage.ladder("frankfurt", &answered.record);
    expect(
        answered.by == "emergency phone",
        "the emergency phone to take the call",
        || tried(&answered.record),
    )?;
    expect(asked == 1, "the webhook to be asked once", || {
        format!("it was asked {asked} times")
    })?;
    shows(&format!(
        "Nobody is left, not even those that were thought dead: the {} is asked, its TwiML says\n      \
         Dial, and the caller speaks to the emergency phone. That is disaster recovery.",
        webhook::LABEL
    ));
    Ok(())
}

async fn all_come_back(stage: &mut Stage) -> Result<(), Trouble> {
    title(7, "Everything comes back");
    for phone in stage.world.carrier.iter_mut().chain(&mut stage.world.pbxs) {
        phone.revive().await?;
    }
    let began = Instant::now();
    let asked_before = stage.world.webhook.asked();
    let caller = carrier(stage, 2);
    let answered = stage.call(&caller, IN).await?;
    talk().await;
    stage.hang_up(&caller, answered.call).await?;
    stage.ladder("frankfurt", &answered.record);
    let back = until_all_is_well(stage, began).await?;
    let is_pbx = PBXS.iter().any(|target| target.role.label == answered.by);
    expect(is_pbx, "a PBX to take the call", || tried(&answered.record))?;
    let asked = stage.world.webhook.asked() - asked_before;
    expect(asked == 0, "the webhook not to be asked any more", || {
        format!("it was asked {asked} times")
    })?;
    shows(&format!(
        "The very next call in goes to a PBX ({}): nobody has to reset anything. Then one call\n      \
         at a time tries those that were down, after 5 s of rest: {} took one after {:.1} s.\n      \
         Calls out are back at {} after {:.1} s, as soon as a probe has found it alive.",
        answered.by,
        back.pbx.0,
        back.pbx.1.as_secs_f64(),
        back.edge.0,
        back.edge.1.as_secs_f64(),
    ));
    Ok(())
}

/// Who was the first to be back, and when.
struct Back {
    pbx: (String, Duration),
    edge: (String, Duration),
}

/// Calls both ways, twice a second, until one is taken in Dublin and one by a PBX of the better
/// priority. None may be lost meanwhile.
async fn until_all_is_well(stage: &mut Stage, began: Instant) -> Result<Back, Trouble> {
    let (inside, outside) = (pbx(stage, 1), carrier(stage, 2));
    let better: Vec<&str> = PBXS
        .iter()
        .filter(|it| it.priority == 10)
        .map(|it| it.role.label)
        .collect();
    let (mut by_pbx, mut by_edge) = (None, None);
    loop {
        if by_edge.is_none() {
            let Answered { call, by, .. } = stage.call(&inside, OUT).await?;
            stage.hang_up(&inside, call).await?;
            by_edge = by.starts_with("dublin").then(|| (by, began.elapsed()));
        }
        if by_pbx.is_none() {
            let Answered { call, by, .. } = stage.call(&outside, IN).await?;
            stage.hang_up(&outside, call).await?;
            by_pbx = better.contains(&by.as_str()).then(|| (by, began.elapsed()));
        }
        if let (Some(pbx), Some(edge)) = (&by_pbx, &by_edge) {
            return Ok(Back {
                pbx: pbx.clone(),
                edge: edge.clone(),
            });
        }
        expect(
            began.elapsed() < BACK_MAX,
            "all to be back within 20 s",
            || {
                format!(
                    "Dublin is {}, the PBXs are {}",
                    well(by_edge.is_some()),
                    well(by_pbx.is_some())
                )
            },
        )?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn well(is: bool) -> &'static str {
    if is { "back" } else { "not" }
}
