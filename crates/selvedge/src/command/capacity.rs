//! `selvedge capacity`: what an installation of any size needs, reckoned from what was measured.
//!
//! The figures stand in `measured.json`, which `scripts/bench_processes` writes; a test compares what this
//! model says of the measured sizes with what was measured.

#![expect(clippy::float_arithmetic, reason = "estimates for people; money never comes here")]

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Calls of `/transactions/sync` a minute that Plaid allows one client in production.
const PLAID_SYNCS_A_MINUTE: f64 = 2_500.0;
/// How full a core may be on average at the busiest time, so that queues stay short.
const MOST_BUSY: f64 = 0.6;
/// Connections of one process to its database, and of the server to all of them.
const CONNECTIONS: f64 = 8.0;
const MOST_CONNECTIONS: f64 = 400.0;
/// A change in the event log with its headers.
const LOG_BYTES: f64 = 1_250.0;

/// Say what an installation of a size needs.
#[derive(Args)]
#[command(after_help = "Example: selvedge capacity --items 1000000\n\
                  Without --items a table of 10,000, 1,000,000 and 100,000,000 Items.")]
pub(crate) struct Capacity {
    /// Items.
    #[arg(long, value_name = "N")]
    items: Vec<f64>,

    /// Syncs of an Item in a day: webhooks and polls.
    #[arg(long, default_value_t = 4.0, value_name = "N")]
    syncs_per_day: f64,

    /// Transactions of an Item when its history is complete.
    #[arg(long, default_value_t = 1_500.0, value_name = "N")]
    rows_per_item: f64,

    /// New and changed transactions of an Item in a day.
    #[arg(long, default_value_t = 3.0, value_name = "N")]
    changes_per_day: f64,

    /// The busiest hour over the average.
    #[arg(long, default_value_t = 4.0, value_name = "N")]
    peak: f64,

    /// Days in which all histories are loaded at first.
    #[arg(long, default_value_t = 7.0, value_name = "N")]
    load_days: f64,

    /// Days for which the event log is kept.
    #[arg(long, default_value_t = 7.0, value_name = "N")]
    log_days: f64,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Processor seconds of one unit, and bytes of a row, on PostgreSQL.
#[derive(Debug, Clone, Copy)]
struct Costs {
    sync_own: f64,
    sync_database: f64,
    row_own: f64,
    row_database: f64,
    row_bytes: f64,
}

/// One measured point, as the benchmark writes it.
#[derive(Debug, Clone, Deserialize)]
struct Point {
    engine: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "only named"))]
    workers: f64,
    rows: f64,
    syncs: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "only compared with"))]
    rows_per_second: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "only compared with"))]
    syncs_per_second: f64,
    load_cpu: Spent,
    sync_cpu: Spent,
    bytes_per_row: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Spent {
    own: f64,
    database: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "only compared with"))]
    bank: f64,
}

/// What an installation needs.
#[derive(Debug, Clone, Copy)]
struct Needs {
    syncs_per_second: f64,
    worker_cores: f64,
    database_cores: f64,
    processes: f64,
    connections: f64,
    database_bytes: f64,
    log_bytes: f64,
    plaid_clients: f64,
}

impl Capacity {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let costs = Costs::measured()?;
        let asked = if self.items.is_empty() { vec![1e4, 1e6, 1e8] } else { self.items.clone() };
        if self.json {
            for items in asked {
                let needs = self.needs(items, costs);
                println!(
                    "{}",
                    json!({
                        "items": items, "syncs_per_second": needs.syncs_per_second,
                        "worker_cores": needs.worker_cores, "database_cores": needs.database_cores,
                        "processes": needs.processes, "connections": needs.connections,
                        "database_bytes": needs.database_bytes, "log_bytes": needs.log_bytes,
                        "plaid_clients": needs.plaid_clients,
                    })
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "| Items | syncs/s at the busiest | cores for workers | cores for PostgreSQL | processes | \
                  connections | PostgreSQL | event log | Plaid clients |"
        );
        println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for items in asked {
            let needs = self.needs(items, costs);
            println!(
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0}{} | {} | {} | {:.0} |",
                grouped(items),
                needs.syncs_per_second,
                needs.worker_cores.ceil(),
                needs.database_cores.ceil(),
                needs.processes,
                needs.connections,
                if needs.connections > MOST_CONNECTIONS { ", pooled" } else { "" },
                bytes(needs.database_bytes),
                bytes(needs.log_bytes),
                needs.plaid_clients,
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn needs(&self, items: f64, costs: Costs) -> Needs {
        let average = items * self.syncs_per_day / DAY;
        let busiest = average * self.peak;
        let loading = items * self.rows_per_item / (self.load_days * DAY);
        let changing = items * self.changes_per_day / DAY * self.peak;
        // Loading goes beside the daily work, evenly; changes are rows, too.
        let rows = loading + changing;
        let worker_cores = (busiest * costs.sync_own + rows * costs.row_own) / MOST_BUSY;
        let database_cores =
            (busiest * costs.sync_database + rows * costs.row_database) / MOST_BUSY;
        // A process keeps about one core busy before its connections do not suffice.
        let processes = worker_cores.ceil().max(1.0);
        Needs {
            syncs_per_second: busiest,
            worker_cores,
            database_cores,
            processes,
            connections: processes * CONNECTIONS,
            database_bytes: items * self.rows_per_item * costs.row_bytes,
            log_bytes: items * self.changes_per_day * self.log_days * LOG_BYTES * 3.0,
            plaid_clients: (busiest * 60.0 / PLAID_SYNCS_A_MINUTE).ceil().max(1.0),
        }
    }
}

impl Costs {
    /// The mean of what was measured on PostgreSQL.
    fn measured() -> anyhow::Result<Self> {
        Ok(Self::of(&points()?))
    }

    fn of(points: &[Point]) -> Self {
        let shared: Vec<&Point> =
            points.iter().filter(|point| point.engine == "postgres").collect();
        let mean = |of: &dyn Fn(&Point) -> f64| {
            shared.iter().map(|point| of(point)).sum::<f64>()
                / shared.iter().map(|_| 1.0).sum::<f64>()
        };
        Self {
            sync_own: mean(&|point| point.sync_cpu.own / point.syncs),
            sync_database: mean(&|point| point.sync_cpu.database / point.syncs),
            row_own: mean(&|point| point.load_cpu.own / point.rows),
            row_database: mean(&|point| point.load_cpu.database / point.rows),
            row_bytes: mean(&|point| point.bytes_per_row),
        }
    }
}

fn points() -> anyhow::Result<Vec<Point>> {
    Ok(serde_json::from_str(include_str!("measured.json"))?)
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

fn bytes(count: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut left = count;
    for unit in units {
        if left < 1_000.0 || unit == "PB" {
            return format!("{left:.0} {unit}");
        }
        left /= 1_000.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model is a mean over all measured sizes; each of them must be what it says, within this much.
    const MOST_OFF: f64 = 0.25;

    #[test]
    fn the_model_says_what_was_measured() {
        let points = points().unwrap();
        let costs = Costs::of(&points);
        let near = |said: f64, measured: f64, what: &str| {
            let off = (said - measured).abs() / measured;
            assert!(off <= MOST_OFF, "{what}: {said} said, {measured} measured");
        };
        for point in points.iter().filter(|point| point.engine == "postgres") {
            let what = format!("{} processes", point.workers);
            near(point.rows * costs.row_own, point.load_cpu.own, &what);
            near(point.rows * costs.row_database, point.load_cpu.database, &what);
            near(point.syncs * costs.sync_own, point.sync_cpu.own, &what);
            near(point.syncs * costs.sync_database, point.sync_cpu.database, &what);
            near(costs.row_bytes, point.bytes_per_row, &what);
            // The bank runs on the same two cores: what is left of them bounds the rate.
            let spent = point.load_cpu.own + point.load_cpu.database + point.load_cpu.bank;
            assert!(point.rows / point.rows_per_second >= spent / 2.0 * 0.9, "{what}: two cores");
            let spent = point.sync_cpu.own + point.sync_cpu.database + point.sync_cpu.bank;
            assert!(point.syncs / point.syncs_per_second >= spent / 2.0 * 0.9, "{what}: two cores");
        }
    }

    #[test]
    fn ten_times_the_items_need_ten_times_the_cores() {
        let capacity = Capacity {
            items: Vec::new(),
            syncs_per_day: 4.0,
            rows_per_item: 1_500.0,
            changes_per_day: 3.0,
            peak: 4.0,
            load_days: 7.0,
            log_days: 7.0,
            json: false,
        };
        let costs = Costs::measured().unwrap();
        let (one, ten) = (capacity.needs(1e6, costs), capacity.needs(1e7, costs));
        assert!((ten.worker_cores / one.worker_cores - 10.0).abs() < 0.01);
        assert!((ten.database_bytes / one.database_bytes - 10.0).abs() < 0.01);
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(bytes(2.5e12), "2 TB");
    }
}
