//! The edge from the outside: real sockets, real processes, all on loopback.
//!
//! This binary is also the edge process that the tests start: with the variable
//! [`support::CHILD`] in its environment it is that and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "acme")]
mod acme;
mod challenges;
mod cutover;
mod hostile;
mod http2;
mod lifecycle;
mod messages;
mod origins;
mod routing;
mod support;
mod watching;

use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

/// No test takes near as long; one that hangs says so instead of stopping everything.
const BOUND: Duration = Duration::from_secs(120);

fn trial(name: &'static str, test: impl Future<Output = ()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::time::timeout(BOUND, test)
                .await
                .map_err(|_| format!("hangs: not done after {BOUND:?}").into())
        })
    })
}

macro_rules! trials {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(trial(concat!(stringify!($module), "::", stringify!($name)), $module::$name())),*]
    };
}

fn main() -> std::process::ExitCode {
    if let Some(code) = support::run_if_child() {
        return code;
    }
    let trials = trials![
        routing::goes_by_host_and_longest_path,
        routing::says_why_there_is_no_answer,
        routing::tells_the_app_where_a_request_came_from,
        routing::takes_turns_and_passes_over_a_dead_backend,
        routing::finds_assets_in_the_other_release,
        routing::keeps_weights_between_two_releases,
        routing::clients_keep_their_release_while_two_serve,
        origins::only_a_trusted_proxy_says_whose_request_it_is,
        origins::a_site_is_sent_to_tls_with_its_host_and_path,
        messages::streams_both_ways_without_gathering,
        messages::passes_events_as_they_come,
        messages::passes_odd_but_good_messages,
        messages::repeats_only_what_is_safe,
        messages::reports_an_answer_that_is_cut_short,
        messages::keeps_connections_to_the_app,
        messages::an_upload_goes_on_after_its_answer,
        messages::takes_no_larger_body_than_its_site_does,
        messages::compresses_what_may_be,
        challenges::answers_come_before_any_route_and_survive_a_kill,
        cutover::fails_no_request_under_load,
        cutover::keeps_a_websocket_until_the_drain_deadline,
        cutover::counts_what_a_drain_waits_for_and_cuts,
        cutover::goes_back_by_itself,
        cutover::who_was_there_before_answers_while_traffic_may_go_back,
        cutover::refuses_an_older_lease,
        http2::carries_many_requests_on_one_connection,
        http2::tells_the_app_the_same_as_http1,
        http2::a_drain_cuts_its_release_and_no_other,
        http2::idle_connections_end_and_others_go_on,
        http2::passes_trailers_and_events,
        watching::a_backend_that_is_down_is_passed_over_until_it_answers,
        watching::a_backend_that_says_it_is_unwell_is_passed_over,
        watching::every_request_is_written_down,
        watching::remembers_what_was_counted_second_by_second,
        hostile::refuses_ambiguous_requests,
        hostile::closes_slow_clients_and_serves_others,
        hostile::gives_up_on_slow_apps_and_uploads,
        hostile::accepts_no_more_than_it_holds,
        hostile::one_client_does_not_take_all_connections,
        hostile::ten_thousand_idle_connections_are_in_nobodys_way,
        hostile::broken_apps_harm_nobody_else_and_are_written_down,
        hostile::an_app_that_says_too_much_answers_no_other_request,
        lifecycle::a_killed_edge_refuses_nobody,
        lifecycle::an_edge_without_its_supervisor_serves_on_and_is_taken_over,
        lifecycle::is_replaced_without_a_lost_request,
        lifecycle::a_retired_edge_follows_and_drains,
        lifecycle::two_never_serve_the_same_state,
        lifecycle::ends_politely_on_sigterm,
        lifecycle::says_goodbye_to_what_never_ends,
        lifecycle::ends_when_its_folder_is_deleted_but_not_when_it_is_moved,
        lifecycle::one_bad_entry_takes_no_other_down,
        lifecycle::a_full_disk_changes_nothing,
        lifecycle::readers_look_and_do_nothing_else,
        lifecycle::an_embedded_edge_ends_with_its_link,
        lifecycle::refuses_what_is_no_listener,
    ];
    #[cfg(feature = "tls")]
    let trials = {
        use http2::tls;
        let mut trials = trials;
        trials.extend(trials![
            tls::one_listener_speaks_all_of_them,
            tls::certificates_are_swapped_and_a_bad_one_takes_no_other_down,
            tls::a_handshake_that_never_ends_holds_nobody_up,
        ]);
        trials
    };
    #[cfg(feature = "acme")]
    let trials = {
        let mut trials = trials;
        trials.extend(trials![
            acme::an_authority_that_says_wait_is_not_asked_again_before,
            acme::an_authority_that_is_down_is_said_and_what_serves_serves_on,
            acme::a_name_that_does_not_lead_here_never_reaches_the_authority,
            acme::what_is_brought_is_checked_before_it_is_used,
            acme::a_name_is_proved_and_served_by_a_real_edge,
            acme::two_edges_share_one_order,
            acme::a_renewal_drops_no_connection,
        ]);
        trials
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
