//! What is known of the accounts, for `/metrics`. Labels name the driver and the number of the mount, never a path.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::driver::{AccountFacts, Package};
use crate::mount::MountTable;

/// Gauges of all mounts, read when they are asked for; asks no drive.
#[derive(Debug)]
pub struct AccountGauges(Arc<MountTable>);

/// What tells one account's gauge from another's.
struct Account {
    driver: &'static str,
    /// Its place in the configuration, from 0.
    mount: String,
    facts: AccountFacts,
}

// === impl AccountGauges ===

impl AccountGauges {
    /// Gauges of these mounts.
    pub fn new(mounts: Arc<MountTable>) -> Self {
        Self(mounts)
    }
}

impl Collector for AccountGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let accounts = self.0.iter().filter_map(|mount| {
            let (driver, facts) = (mount.driver.info().name, mount.driver.account()?);
            Some(Account { driver, mount: mount.id.0.to_string(), facts })
        });
        let accounts: Vec<Account> = accounts.collect();
        let help = "Whether the account has the drive's package for programs of others";
        gauge(&mut encoder, &accounts, ("account_package", help, None), |facts| {
            let owned = facts.package.map(|package| u64::from(package != Package::Missing));
            owned.map(|owned| (None, owned)).into_iter().collect()
        })?;
        let help = "Bytes that the account's files take";
        gauge(&mut encoder, &accounts, ("account_space_used", help, Some(Unit::Bytes)), |facts| {
            facts.space.map(|space| (None, space.used)).into_iter().collect()
        })?;
        let help = "Bytes that the account's files may take";
        gauge(&mut encoder, &accounts, ("account_space_total", help, Some(Unit::Bytes)), |facts| {
            facts.space.map(|space| (None, space.total)).into_iter().collect()
        })?;
        let help = "Calls that the drive refused on the account's own grounds when they were made last";
        gauge(&mut encoder, &accounts, ("account_refused", help, None), |facts| {
            facts.refused.iter().map(|refused| (Some(("endpoint", refused.endpoint)), 1_u64)).collect()
        })?;
        let help = "Time between two calls of a class at present";
        gauge(&mut encoder, &accounts, ("account_call_interval", help, Some(Unit::Seconds)), |facts| {
            let of = facts.paces.iter();
            of.map(|(class, pace)| (Some(("class", *class)), pace.interval.as_secs_f64())).collect()
        })?;
        let help = "Calls of a class that wait for their turn";
        gauge(&mut encoder, &accounts, ("account_calls_waiting", help, None), |facts| {
            let of = facts.paces.iter();
            of.map(|(class, pace)| (Some(("class", *class)), pace.waiting as u64)).collect()
        })
    }
}

/// A label of one gauge's own.
type Label = Option<(&'static str, &'static str)>;

/// One gauge with its name, its help and its unit, for every account that has values for it.
fn gauge<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    accounts: &[Account],
    (name, help, unit): (&str, &str, Option<Unit>),
    values: impl Fn(&AccountFacts) -> Vec<(Label, V)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for account in accounts {
        for (label, value) in values(&account.facts) {
            let labels = [("driver", account.driver), ("mount", &*account.mount)].into_iter().chain(label);
            family.encode_family(&labels.collect::<Vec<_>>())?.encode_gauge(&value)?;
        }
    }
    Ok(())
}
