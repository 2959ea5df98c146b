//! Serves a container's log, following it while the container runs.

use super::{Shared, blocking, io_error};
use crate::{
    log::Reader,
    spec::{ContainerRecord, Phase, Request},
};
use env::{BoxFuture, LogOptions, LogReader, RuntimeResult};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How often a followed log is looked at when it has not grown.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

struct ContainerLog {
    shared: Arc<Shared>,
    id: String,
    follow: bool,
    /// Absent while the container has not written anything because it was never started.
    reader: Mutex<Option<Reader>>,
}

pub(super) async fn open(
    shared: &Arc<Shared>,
    id: &str,
    options: &LogOptions,
) -> RuntimeResult<Arc<dyn LogReader>> {
    let (shared, id, options) = (shared.clone(), id.to_owned(), options.clone());
    let (owner, name, follow) = (shared.clone(), id.clone(), options.follow);
    let reader = blocking(move || {
        let record = inspect(&shared, &id)?;
        match Reader::open(&record.spec.log_path, &options) {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("LogError")(error)),
        }
    });
    let reader = Mutex::new(reader.await?);
    Ok(Arc::new(ContainerLog {
        shared: owner,
        id: name,
        follow,
        reader,
    }))
}

fn inspect(shared: &Shared, id: &str) -> RuntimeResult<ContainerRecord> {
    shared
        .client
        .container(&Request::Inspect { id: id.to_owned() })
}

impl ContainerLog {
    /// A removed container writes no more.
    async fn has_ended(&self) -> bool {
        let (shared, id) = (self.shared.clone(), self.id.clone());
        let record = blocking(move || inspect(&shared, &id)).await;
        !record.is_ok_and(|record| matches!(record.phase, Phase::Running { .. }))
    }

    async fn next(&self) -> RuntimeResult<Option<Vec<u8>>> {
        let mut reader = self.reader.lock().await;
        let Some(reader) = reader.as_mut() else {
            return Ok(None);
        };
        loop {
            if reader.is_full() {
                return Ok(None);
            }
            // Asked before reading: what was written until the end is then surely read.
            let last = !self.follow || self.has_ended().await;
            let text = reader.next().map_err(io_error("LogError"))?;
            match (text.is_empty(), last) {
                (false, _) => return Ok(Some(text)),
                (true, true) => return Ok(None),
                (true, false) => self.shared.world.sleep(FOLLOW_INTERVAL).await,
            }
        }
    }
}

impl LogReader for ContainerLog {
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Option<Vec<u8>>>> {
        Box::pin(self.next())
    }
}
