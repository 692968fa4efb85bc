//! Three real mongods that replicate, and what may happen to them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    mongod::{CACHE_MB, Mongod, is_primary, is_secondary, new_folder},
};

const MEMBERS: usize = 3;
/// An election takes 2 s where nobody stands in its way.
const ELECTION_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Of an office that was given up.
const RESTS_SECONDS: i32 = 5;

/// A running set. Dropping it kills all of it, with its data.
#[derive(Debug)]
pub struct ReplicaSet {
    members: Vec<Mongod>,
}

impl ReplicaSet {
    /// Starts a new, empty one, and waits until it takes writes.
    ///
    /// # Errors
    /// When there is no mongod, or the set does not come up.
    pub async fn start() -> Result<Self> {
        let mut members = Vec::with_capacity(MEMBERS);
        for _ in 0..MEMBERS {
            members.push(Mongod::listening(&new_folder(), true, CACHE_MB / 2).await?);
        }
        let hosts: Vec<String> = members.iter().map(Mongod::host).collect();
        let mut set = Self { members };
        set.member(0)?.initiate(&hosts).await?;
        for member in &mut set.members {
            member.says(|hello| is_primary(hello) || is_secondary(hello)).await?;
        }
        set.primary().await?;
        Ok(set)
    }

    /// `mongodb://HOST,HOST,HOST/DATABASE?replicaSet=rs0`.
    pub fn uri(&self, database: &str) -> String {
        let hosts: Vec<String> = self.members.iter().map(Mongod::host).collect();
        format!("mongodb://{}/{database}?replicaSet=rs0", hosts.join(","))
    }

    /// Which member takes writes; waits for one.
    ///
    /// # Errors
    /// When none does after a minute.
    pub async fn primary(&self) -> Result<usize> {
        let end = Instant::now() + ELECTION_DEADLINE;
        while Instant::now() < end {
            for (which, member) in self.members.iter().enumerate() {
                if member.hello().await.is_ok_and(|hello| is_primary(&hello)) {
                    return Ok(which);
                }
            }
            sleep(POLL).await;
        }
        Err(Error::Process { program: "mongod".to_owned(), problem: "the members agree on no primary".to_owned() })
    }

    /// The primary gives up its office, and another member takes it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn step_down(&self) -> Result<()> {
        let primary = self.primary().await?;
        let primary = self.members.get(primary).ok_or_else(no_such_member)?;
        Ok(primary.step_down(RESTS_SECONDS).await?)
    }

    fn member(&mut self, which: usize) -> Result<&mut Mongod> {
        self.members.get_mut(which).ok_or_else(no_such_member)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        self.member(member)?.kill();
        Ok(())
    }

    /// Starts it again, and waits until it replicates.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn resume(&mut self, member: usize) -> Result<()> {
        let member = self.member(member)?;
        member.listen_again()?;
        member.says(|hello| is_primary(hello) || is_secondary(hello)).await.map(drop)
    }
}

fn no_such_member() -> Error {
    Error::Process { program: "mongod".to_owned(), problem: "the set has no such member".to_owned() }
}
