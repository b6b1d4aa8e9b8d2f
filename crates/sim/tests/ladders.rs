//! Every ladder of `tests/ladders`, each a test by its own name.
//!
//! A new file is a new line in the list below; a test sees to it that none is forgotten.

use std::path::{Path, PathBuf};

use trunkline_sim::ladder::{Library, Script, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ladders")
}

fn play(name: &str) {
    let path = folder().join(name).with_extension("ladder");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    if let Err(failure) = run(&script, &Library::new(folder().join("configs"))) {
        panic!("{name}: {}\n{failure}", script.promise.join(" "));
    }
}

/// One module a folder, one test a file, and the names of all.
macro_rules! ladders {
    ($($folder:ident { $($file:ident)* })*) => {
        $(mod $folder {
            $(#[test]
            fn $file() {
                super::play(concat!(stringify!($folder), "/", stringify!($file)));
            })*
        })*

        const LISTED: &[&str] = &[$($(concat!(stringify!($folder), "/", stringify!($file)),)*)*];
    };
}

ladders! {
    attempts {
        a_100_is_a_response
        a_connection_that_hangs_costs_connect_timeout
        a_long_retry_after_is_capped
        a_redirect_is_forwarded
        a_retry_after_of_ten_years_is_a_minute
        carriers_other_answers_go_back
        codes_can_be_configured
        exhausted_best_is_the_best_real_answer
        exhausted_is_503_with_what_was_met
        invite_is_retransmitted_inside_the_four_seconds
        max_attempts_ends_a_call
        no_failover_after_ringing
        one_calls_discovery_moves_the_others
        only_100_from_a_candidate_that_turned_down_moves_on
        origination_answers_go_back
        origination_failover_codes
        progress_timeout_moves_on
        refused_connection_moves_on_at_once
        retry_after_pauses_a_candidate
        ringing_too_long_is_cancelled
        an_answer_timeout_below_response_timeout_holds
        a_response_timeout_below_timer_a_holds
        setup_budget_ends_a_call
        silent_first_address
        termination_failover_codes
        unreachable_moves_on_at_once
        when_most_further_attempts_fail_they_are_withheld
    }
    choosing {
        a_drained_edge_gets_no_new_calls
        a_drained_target_keeps_its_calls_and_gets_no_new_ones
        a_failed_targets_share_goes_to_its_peers
        a_full_target_is_skipped_not_failed
        a_target_at_its_rate_is_passed_by
        a_target_that_came_back_starts_slowly
        a_carrier_whose_line_is_long_is_passed_by
        calls_spread_by_weight
        calls_to_a_carrier_with_cps_wait_their_turn
        hash_keeps_a_caller_with_his_target
        hash_on_says_what_is_hashed
        least_calls_prefers_the_emptier_target
        targets_that_are_all_down_are_tried_anyway
        the_next_priority_is_used_when_the_better_is_down
        weight_zero_is_rarely_first
    }
    dialogs {
        a_bye_that_nobody_answers_ends_the_call
        a_callee_that_ignores_record_route_is_remembered
        a_challenged_bye_ends_nothing
        a_session_that_nobody_refreshes_is_no_active_call
        a_strict_router_before_us_is_understood
        a_subscription_is_a_dialog
        an_early_dialog_is_routed_too
        an_unknown_dialog_is_481
        answers_to_an_earlier_life_are_dropped
        calls_outlive_a_restart
        endpoints_that_ignore_record_route_are_remembered
        origination_calls_end_from_either_side
        peer_mode_speaks_to_the_address_that_set_the_call_up
        record_route_is_double_where_the_transport_changes
        requests_go_both_ways_by_their_token
        trunkline_is_no_open_relay
    }
    health {
        a_down_candidate_gets_one_call_at_a_time
        a_peer_that_flaps_every_second_costs_a_call_little
        a_probe_finds_a_dead_candidate_before_a_call_does
        an_answer_from_another_address_counts
        any_answer_to_options_but_408_and_503_is_life
        calls_taken_and_options_ignored_is_well
        options_answered_but_no_call_is_down_by_its_calls
        silence_to_several_calls_is_suspicious_after_a_second
        two_failures_make_a_candidate_down
    }
    late {
        a_late_answer_after_the_final_is_hung_up
        a_late_answer_wins_while_the_caller_waits
        a_late_failure_is_acknowledged_and_forgotten
        an_answer_after_cancel_is_hung_up
        an_answer_copied_is_forwarded_each_time
        two_answers_one_call
    }
    names {
        a_name_that_alternates_keeps_what_is_known_of_its_addresses
        a_name_without_addresses_is_passed_by
        a_vanished_address_keeps_its_calls
        calls_spread_over_the_addresses_of_a_name
        every_address_is_tried
        one_failed_call_spoils_nothing_for_its_name
        srv_priorities_are_kept
        usable_addresses_come_before_suspect_ones
        when_dns_fails_the_addresses_are_still_probed
        when_dns_fails_the_last_answer_holds
    }
    process {
        a_reload_drops_no_call
        draining_takes_no_new_calls
    }
    recovery {
        a_busy_phone_is_not_called_again_at_its_next_address
        a_call_that_was_taken_tells_the_action_when_it_is_over
        a_cancel_ends_the_recovery
        a_dial_that_fails_goes_on_with_the_document
        a_drill_takes_its_calls_and_no_others
        a_failing_webhook_is_repeated_then_the_fallback_is_asked
        a_slow_or_broken_webhook_ends_in_503
        a_message_is_handed_to_the_media_server
        an_ncco_connects_and_its_events_are_told
        the_last_resort_is_called
        the_webhook_dials_a_number_through_a_trunk
        the_webhook_dials_another_address
        the_webhook_redirects
        the_webhook_rejects
    }
    requests {
        a_copied_invite_is_absorbed
        a_lost_ack_has_the_failure_repeated
        a_spiral_passes_and_a_loop_is_482
        cancel_after_the_answer_changes_nothing
        cancel_before_any_response
        cancel_of_nothing_is_481
        cancel_stops_the_failover
        cancel_while_ringing
        malformed_from_a_known_source_is_400
        max_forwards_zero_is_483
        options_for_us_is_answered
        options_says_503_when_no_target_is_usable
        other_requests_walk_the_same_candidates
        proxy_require_is_420
        register_is_405
        responses_follow_the_connection_of_their_request
        responses_go_back_to_where_the_request_came_from
        what_is_not_ours_is_forwarded_byte_for_byte
    }
    routing {
        a_request_leaves_from_the_listener_that_was_asked_for
        a_request_uri_that_names_an_edge_goes_to_its_trunk_first
        a_tel_uri_becomes_a_sip_uri
        edges_in_order_then_the_next_trunk
        ipv6_on_one_side_and_ipv4_on_the_other
        the_first_matching_route_decides
    }
    speak {
        a_carriers_whole_range_may_call
        a_source_has_a_rate
        strangers_get_403_when_so_configured
        strangers_get_silence
        trunks_with_one_source_are_told_apart
    }
}

#[test]
fn no_ladder_is_forgotten() {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the ladders' folder") {
        let entry = entry.expect("an entry").path();
        for file in std::fs::read_dir(&entry).into_iter().flatten() {
            let file = file.expect("an entry").path();
            if file
                .extension()
                .is_some_and(|extension| extension == "ladder")
            {
                let name = |path: &Path| {
                    path.file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned()
                };
                found.push(format!("{}/{}", name(&entry), name(&file)));
            }
        }
    }
    found.sort();
    let mut listed = LISTED.to_vec();
    listed.sort_unstable();
    assert_eq!(listed, found);
}

/// The README's tables name every ladder, and none that does not exist.
#[test]
fn every_ladder_shows_a_row_of_the_contract() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the ladders' README");
    let (_, tables) = readme
        .split_once("## Which row of the contract")
        .expect("the tables");
    let mut named: Vec<&str> = tables
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split(" | ").nth(1))
        .flat_map(|ladders| ladders.split('`').skip(1).step_by(2))
        .collect();
    named.sort_unstable();
    named.dedup();
    let mut listed = LISTED.to_vec();
    listed.sort_unstable();
    assert_eq!(named, listed);
}

#[test]
fn every_ladder_prints_as_a_script_that_says_the_same() {
    for name in LISTED {
        let path = folder().join(name).with_extension("ladder");
        let read = |text: &str| {
            let mut script =
                Script::parse(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            script.steps.iter_mut().for_each(|step| step.line = 0);
            script
        };
        let script = read(&std::fs::read_to_string(path).expect("a listed file"));
        assert_eq!(script, read(&script.to_string()), "{name}");
    }
}

#[test]
fn the_readmes_example_is_true() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the ladders' README");
    let example = readme
        .split("```\n")
        .find(|block| block.starts_with('#') && block.contains("rest empty"));
    let script =
        Script::parse(example.expect("an example")).unwrap_or_else(|error| panic!("{error}"));
    run(&script, &Library::new(folder().join("configs")))
        .unwrap_or_else(|failure| panic!("{failure}"));
}
