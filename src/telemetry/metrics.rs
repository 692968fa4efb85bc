//! Every metric with its help text. Names are a contract with dashboards and alerts.

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// One process has one; tests make their own. Cheap to clone: every metric is shared inside.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub head_block: IntGaugeVec,
    pub finalized_block: IntGaugeVec,
    pub durable_block: IntGaugeVec,
    pub store_stand_in: IntGauge,
    pub store_writer: IntGauge,
    pub blocks_total: IntCounterVec,
    pub events_total: IntCounterVec,
    pub reorgs_total: IntCounterVec,
    pub reorg_depth_blocks: HistogramVec,
    pub malformed_logs_total: IntCounterVec,
    pub block_commit_seconds: HistogramVec,
    pub barrier_seconds: HistogramVec,
    pub pools: IntGaugeVec,
    pub pools_rebuilding: IntGaugeVec,
    pub pools_faulted: IntGaugeVec,
    pub audit_drift: IntGaugeVec,
    pub audit_block: IntGaugeVec,
    pub actor_restarts_total: IntCounterVec,
    pub persist_backlog_blocks: IntGaugeVec,
    pub journal_rows: IntGaugeVec,
    pub persist_write_seconds: HistogramVec,
    pub persist_errors_total: IntCounterVec,
    pub enrichment_backlog_blocks: IntGaugeVec,
    pub rpc_requests_total: IntCounterVec,
    pub rpc_errors_total: IntCounterVec,
    pub rpc_received_bytes_total: IntCounterVec,
    pub rpc_requests_per_second_max: GaugeVec,
    pub rpc_logs_range_blocks: IntGaugeVec,
    pub rpc_budget_left_requests: IntGaugeVec,
    pub feed_ticks_total: IntCounterVec,
    pub feed_errors_total: IntCounterVec,
    pub recorded_prices_total: IntCounterVec,
    pub recorded_prices_waiting: IntGauge,
    pub ws_connections: IntGauge,
    pub subscriptions: IntGauge,
    pub frames_made_total: IntCounter,
    pub frames_sent_total: IntCounter,
    pub slow_consumers_total: IntCounter,
    pub streams: IntGauge,
    pub tasks: IntGauge,
    pub rate_limited_total: IntCounter,
    pub graphql_requests_total: IntCounterVec,
    pub graphql_seconds: Histogram,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// 0.1 ms to 26 s.
fn seconds_buckets() -> Vec<f64> {
    (0..10).map(|i| 0.0001 * 4f64.powi(i)).collect()
}

impl Metrics {
    /// Registers everything in a registry of its own.
    ///
    /// # Errors
    /// Never, unless two metrics here share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let m = IntCounterVec::new(Opts::new(name, help), labels)?;
            r.register(Box::new(m.clone()))?;
            Ok::<_, prometheus::Error>(m)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let m = IntGaugeVec::new(Opts::new(name, help), labels)?;
            r.register(Box::new(m.clone()))?;
            Ok::<_, prometheus::Error>(m)
        };
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: Vec<f64>| {
            let m = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
            r.register(Box::new(m.clone()))?;
            Ok::<_, prometheus::Error>(m)
        };
        let counter = |name: &str, help: &str| {
            let m = IntCounter::new(name, help)?;
            r.register(Box::new(m.clone()))?;
            Ok::<_, prometheus::Error>(m)
        };
        let gauge = |name: &str, help: &str| {
            let m = IntGauge::new(name, help)?;
            r.register(Box::new(m.clone()))?;
            Ok::<_, prometheus::Error>(m)
        };
        let graphql_seconds = Histogram::with_opts(
            HistogramOpts::new("swaptide_graphql_seconds", "Time to answer a GraphQL request over HTTP")
                .buckets(seconds_buckets()),
        )?;
        r.register(Box::new(graphql_seconds.clone()))?;
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            head_block: gauges("swaptide_head_block", "Number of the newest committed block", &["chain"])?,
            finalized_block: gauges("swaptide_finalized_block", "Number of the newest block beyond the undo window", &["chain"])?,
            store_stand_in: gauge(
                "swaptide_store_stand_in",
                "1: the configured store did not answer at the start, and what is served is kept in a temporary one",
            )?,
            store_writer: gauge("swaptide_store_writer", "1: this instance writes to the store; 0: another one does")?,
            durable_block: gauges("swaptide_durable_block", "Number of the newest block in the store", &["chain"])?,
            blocks_total: counters("swaptide_blocks_total", "Blocks committed", &["chain"])?,
            events_total: counters("swaptide_events_total", "Event rows committed", &["chain"])?,
            reorgs_total: counters("swaptide_reorgs_total", "Chain updates that took blocks back", &["chain"])?,
            reorg_depth_blocks: histograms(
                "swaptide_reorg_depth_blocks",
                "Blocks taken back by one reorg",
                &["chain"],
                vec![1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 32.0, 64.0],
            )?,
            malformed_logs_total: counters(
                "swaptide_malformed_logs_total",
                "Logs of watched contracts with a known topic that could not be decoded",
                &["chain"],
            )?,
            block_commit_seconds: histograms(
                "swaptide_block_commit_seconds",
                "From hearing of a head to its commit",
                &["chain"],
                seconds_buckets(),
            )?,
            barrier_seconds: histograms(
                "swaptide_barrier_seconds",
                "Time all touched pools took for one update",
                &["chain"],
                seconds_buckets(),
            )?,
            pools: gauges("swaptide_pools", "Pools that are watched", &["chain"])?,
            pools_rebuilding: gauges("swaptide_pools_rebuilding", "Pools whose actor is being restarted", &["chain"])?,
            pools_faulted: gauges("swaptide_pools_faulted", "Pools given up after repeated failures", &["chain"])?,
            audit_drift: gauges(
                "swaptide_audit_drift",
                "Pools that differed from their contract at the newest audit",
                &["chain"],
            )?,
            audit_block: gauges("swaptide_audit_block", "Number of the block of the newest audit", &["chain"])?,
            actor_restarts_total: counters("swaptide_actor_restarts_total", "Restarts by the supervisor", &["kind"])?,
            persist_backlog_blocks: gauges(
                "swaptide_persist_backlog_blocks",
                "Blocks committed in memory and not yet in the store",
                &["chain"],
            )?,
            journal_rows: gauges("swaptide_journal_rows", "Events in memory that are not yet in the store", &["chain"])?,
            persist_write_seconds: histograms(
                "swaptide_persist_write_seconds",
                "Time of one store transaction",
                &["chain"],
                seconds_buckets(),
            )?,
            persist_errors_total: counters(
                "swaptide_persist_errors_total",
                "Store transactions that failed and are repeated",
                &["chain"],
            )?,
            enrichment_backlog_blocks: gauges(
                "swaptide_enrichment_backlog_blocks",
                "Stored blocks whose rows were not yet looked at for origin and gas",
                &["chain"],
            )?,
            rpc_requests_total: counters("swaptide_rpc_requests_total", "Requests to nodes", &["endpoint", "method"])?,
            rpc_errors_total: counters("swaptide_rpc_errors_total", "Requests to nodes that failed", &["endpoint", "reason"])?,
            rpc_received_bytes_total: counters("swaptide_rpc_received_bytes_total", "Bytes of nodes' answers", &["endpoint"])?,
            rpc_requests_per_second_max: {
                let name = "swaptide_rpc_requests_per_second_max";
                let m =
                    GaugeVec::new(Opts::new(name, "Pace, configured or learned from complaints; 0: no limit"), &["endpoint"])?;
                r.register(Box::new(m.clone()))?;
                m
            },
            rpc_logs_range_blocks: gauges(
                "swaptide_rpc_logs_range_blocks",
                "Blocks per eth_getLogs that the endpoint was learned to take",
                &["endpoint"],
            )?,
            rpc_budget_left_requests: gauges(
                "swaptide_rpc_budget_left_requests",
                "Requests that `max_per_day` still allows",
                &["endpoint"],
            )?,
            feed_ticks_total: counters("swaptide_feed_ticks_total", "Messages of price sources", &["feed", "outcome"])?,
            feed_errors_total: counters("swaptide_feed_errors_total", "Connections to price sources that ended", &["feed"])?,
            recorded_prices_total: counters(
                "swaptide_recorded_prices_total",
                "Prices from outside the chain, one a minute and pair",
                &["outcome"],
            )?,
            recorded_prices_waiting: gauge("swaptide_recorded_prices_waiting", "Prices that are not recorded yet")?,
            ws_connections: gauge("swaptide_ws_connections", "Open WebSocket connections")?,
            subscriptions: gauge("swaptide_subscriptions", "Running GraphQL subscriptions; one of many pools counts as many")?,
            frames_made_total: counter(
                "swaptide_frames_made_total",
                "Frames executed, each once for all subscribers to the same",
            )?,
            frames_sent_total: counter("swaptide_frames_sent_total", "Frames written to WebSockets")?,
            slow_consumers_total: counter(
                "swaptide_slow_consumers_total",
                "Subscriptions ended because their reader was too slow",
            )?,
            streams: gauge("swaptide_streams", "Open streams of server-sent events")?,
            tasks: gauge("swaptide_tasks", "Tasks alive in the runtime")?,
            rate_limited_total: counter("swaptide_rate_limited_total", "Requests refused because their address asked too often")?,
            graphql_requests_total: counters("swaptide_graphql_requests_total", "GraphQL requests over HTTP", &["outcome"])?,
            graphql_seconds,
            registry: r,
        })
    }

    /// The Prometheus text format. Within a runtime its tasks are counted, too.
    #[must_use]
    pub fn render(&self) -> String {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
