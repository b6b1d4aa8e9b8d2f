//! `trunkline demo`: the main job, to be watched, with nothing else installed.
//!
//! Everything happens on loopback. The router is the real one, with real sockets and a real
//! configuration; the carrier, the PBXs, the name server and the webhook around it are small ones
//! of the demo's own.
//!
//! - `cast`: who takes part, and at which address; `config`: what the router is told of them.
//! - `message`, `phone`, `webhook`: the participants; `tape`: what they saw.
//! - `world`: all of it, started; `stage`: what scenes need; `scenes`: the scenes themselves.
//! - `ladder`: how a call is printed; `stay`: what happens with `--stay`.

mod cast;
mod config;
mod ladder;
mod message;
mod phone;
mod scenes;
mod stage;
mod stay;
mod tape;
mod webhook;
mod world;

use std::{process::ExitCode, time::Instant};

use self::{
    cast::TRUNKLINE,
    stage::{Counts, Stage, say},
    world::World,
};

/// Plays the scenes. Exit code 0: all went as promised; 1: one did not, or nothing could be
/// started. With `stay`, it then runs until a signal ends it.
pub fn demo(stay: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trunkline demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(play(stay))
}

async fn play(stay: bool) -> ExitCode {
    let began = Instant::now();
    let world = match World::start().await {
        Ok(world) => world,
        Err(error) => {
            eprintln!("trunkline demo: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    introduce(&world);
    world.settle().await;

    let mut stage = Stage {
        world,
        counts: Counts::default(),
    };
    let (done, result) = scenes::play(&mut stage).await;
    let Stage { world, counts } = stage;
    if let Err(trouble) = result {
        say(&format!("\nNOT AS PROMISED, scene {}: {trouble}", done + 1));
        world.end().await;
        return ExitCode::FAILURE;
    }
    summarise(&world, counts, began);
    if stay {
        return stay::stay(world).await;
    }
    say(
        "\nLook next at: trunkline demo --stay (keeps this running for SIPp, a softphone, your own\n\
         ideas); then a configuration of your own, with trunkline check FILE and trunkline run -c FILE.",
    );
    world.end().await;
    ExitCode::SUCCESS
}

fn introduce(world: &World) {
    say(&format!(
        "\
Trunkline {} on loopback: carrier and PBXs are small ones of this demo, the router is the real one.

   PBXs                 Trunkline               carrier \"acme\"
   pbx-1  127.0.8.1     {:<20}    edge dublin.carrier.test:     dublin-1, dublin-2
   pbx-2  127.0.8.2                             edge frankfurt.carrier.test:  frankfurt
   pbx-3  127.0.8.3     DNS and a webhook
   spare  127.0.8.4     are here as well        Times are seconds since the call began.",
        env!("CARGO_PKG_VERSION"),
        world.ports.sip_at(TRUNKLINE).to_string(),
    ));
}

fn summarise(world: &World, counts: Counts, began: Instant) {
    say(&format!(
        "
Summary: all {} scenes went as promised, in {:.0} s.
   calls placed {}, answered {}, lost {}
   calls that met somebody dead on their way and were answered all the same: {}
   the webhook was asked: {}
   SIP and HTTP messages seen by the participants: {}",
        scenes::COUNT,
        began.elapsed().as_secs_f64(),
        counts.placed,
        counts.answered,
        counts.placed - counts.answered,
        counts.rescued,
        world.webhook.asked(),
        world.tape.len(),
    ));
}
