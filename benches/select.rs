//! What choosing a target costs, and the stamps that go into every forwarded request.

use std::{hint::black_box, net::SocketAddr};

use divan::Bencher;
use trunkline_proxy::{
    ShardId,
    branch::{BranchToken, Branches},
    dice::Dice,
    event::Direction,
    select::{By, Choice, pick},
    token::{DialogToken, Party, Tokens},
};
use trunkline_sip::Transport;

fn main() {
    divan::main();
}

const KEY: [u8; 16] = *b"sixteen key byte";
const CALL_ID: &[u8] = b"5b2a1f60-7c4e-4b8f-9a3d-2f1e0c9b8a7d@172.18.33.210";
const SIZES: [u16; 4] = [1, 4, 16, 64];

fn choices(count: u16) -> Vec<Choice> {
    (1..=count)
        .map(|number| Choice {
            priority: number % 2,
            weight: u32::from(number) * 10,
            active: u32::from(number % 5),
            id: u64::from(number),
        })
        .collect()
}

#[divan::bench(args = SIZES)]
fn weighted(bencher: Bencher<'_, '_>, count: u16) {
    let eligible = choices(count);
    let mut dice = Dice::for_call(&KEY, CALL_ID);
    bencher.bench_local(move || pick(By::Weighted, black_box(&eligible), &mut dice));
}

#[divan::bench(args = SIZES)]
fn least_calls(bencher: Bencher<'_, '_>, count: u16) {
    let eligible = choices(count);
    let mut dice = Dice::for_call(&KEY, CALL_ID);
    bencher.bench_local(move || pick(By::LeastCalls, black_box(&eligible), &mut dice));
}

#[divan::bench(args = SIZES)]
fn hash(bencher: Bencher<'_, '_>, count: u16) {
    let eligible = choices(count);
    let mut dice = Dice::for_call(&KEY, CALL_ID);
    let mut key = 0;
    bencher.bench_local(move || {
        key += 1;
        pick(By::Hash(key), black_box(&eligible), &mut dice)
    });
}

#[divan::bench]
fn dice_and_a_tag() -> [u8; 10] {
    Dice::for_call(&KEY, black_box(CALL_ID)).tag()
}

#[divan::bench]
fn branch_written(bencher: Bencher<'_, '_>) {
    let branches = Branches::new(KEY);
    let token = BranchToken {
        shard: ShardId(1),
        slot: 70_000,
        generation: 12,
        attempt: 2,
    };
    bencher.bench_local(|| branches.write(black_box(token), black_box(0x1234_5678_9abc)));
}

#[divan::bench]
fn branch_read(bencher: Bencher<'_, '_>) {
    let branches = Branches::new(KEY);
    let token = BranchToken {
        shard: ShardId(1),
        slot: 70_000,
        generation: 12,
        attempt: 2,
    };
    let text = branches.write(token, 0x1234_5678_9abc);
    bencher.bench_local(|| branches.read(black_box(text.as_ref())));
}

#[divan::bench]
fn dialog_token_written(bencher: Bencher<'_, '_>) {
    let tokens = Tokens::new(KEY);
    let dialog = dialog();
    bencher.bench_local(|| tokens.write(black_box(&dialog)));
}

#[divan::bench]
fn dialog_token_read(bencher: Bencher<'_, '_>) {
    let tokens = Tokens::new(KEY);
    let text = tokens.write(&dialog());
    bencher.bench_local(|| tokens.read(black_box(text.as_ref())));
}

fn dialog() -> DialogToken {
    let party = |last: u8| Party {
        transport: Transport::Udp,
        addr: SocketAddr::from(([192, 0, 2, last], 5060)),
    };
    DialogToken {
        trunk: 0x1234_5678,
        direction: Direction::Termination,
        caller_tag: 0x9abc_def0,
        target: 1,
        started: 1_795_305_600,
        caller: party(1),
        callee: party(2),
    }
}
