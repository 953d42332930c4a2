//! How a gateway ends: calls in flight have a short while, then they are cancelled, then servers stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{gateway::Gateway, serve::HangUp};

/// How long calls in flight may still run when the gateway stops.
const GRACE: Duration = Duration::from_millis(1_800);

/// Waits for a signal, or until the client hangs up, and then for calls in flight.
pub(super) async fn drained(gateway: &Gateway, shutdown: &CancellationToken, hang_up: &HangUp) {
    tokio::select! {
        // No one reads answers any more.
        () = hang_up.output.cancelled() => {}
        // Requests that were sent before the end are still answered.
        () = async { hang_up.input.cancelled().await; tokio::time::sleep(GRACE).await } => {}
        () = async { shutdown.cancelled().await; drain(gateway).await } => {}
    }
}

/// Refuses new calls and waits for those in flight.
async fn drain(gateway: &Gateway) {
    // Those that are left are cancelled next.
    let _ = tokio::time::timeout(GRACE, gateway.refuse_calls()).await;
}

/// Waits for calls in flight, then cancels those that are left, then stops all servers.
pub async fn stop(gateway: &Gateway) {
    drain(gateway).await;
    gateway.cancel_calls();
    gateway.stop_servers().await;
}
