//! Looks at the storage behind a plugin: whether it answers, and whether there is room in it.

use std::{rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    task,
    time::{Instant, timeout, timeout_at},
};

use super::{
    call::{CallError, Operation},
    instance::Instance,
    pool::{Look, Pool, TAKES_TURNS, ended},
};
use crate::{capabilities::directory::LazyDirectory, keys::DEFAULT_KEY, panics::contained};

impl Pool {
    /// Reads the default counter, to see whether the storage answers within `time_max`, and has room.
    ///
    /// There is one look at a time, however long it takes: whoever asks meanwhile is told what it brings. It
    /// has an instance beside those of the calls, so that it waits for none of them.
    ///
    /// # Errors
    ///
    /// Why there is no value.
    pub async fn look(self: &Rc<Self>, time_max: Duration) -> Result<i64, String> {
        let Look { began, mut outcome } = self.looking();
        let answered = timeout_at(began + time_max, outcome.wait_for(Option::is_some)).await;
        match answered.map(|outcome| outcome.ok()?.clone()) {
            Ok(outcome) => outcome.unwrap_or_else(|| Err("it broke off".into())),
            Err(_) => Err(format!("the plugin did not answer within {time_max:?}")),
        }
    }

    /// The look that is under way, or a new one.
    fn looking(self: &Rc<Self>) -> Look {
        self.looking.borrow_mut().get_or_insert_with(|| self.begin_look()).clone()
    }

    fn begin_look(self: &Rc<Self>) -> Look {
        let (told, outcome) = watch::channel(None);
        let look = async |instance: &mut Instance| instance.look(DEFAULT_KEY.to_owned()).await;
        let call = (!self.is_prompt()).then(|| self.run(self.begin(), !TAKES_TURNS, look));
        let this = self.clone();
        let looked = async move {
            let value = match call {
                Some(call) => ended(call.await),
                None => {
                    // So that the event loop looks for input between two of them.
                    task::yield_now().await;
                    this.call_prompt(Operation::Get, DEFAULT_KEY.to_owned())
                }
            };
            match value {
                Ok(value) => this.check_room().await.map(|()| value),
                Err(error) => Err(error.to_string()),
            }
        };
        let this = self.clone();
        task::spawn_local(async move {
            // One that panics is not the last.
            let outcome = contained(looked).await.unwrap_or_else(|why| Err(why.into()));
            this.looking.take();
            told.send_replace(Some(outcome));
        });
        Look { began: Instant::now(), outcome }
    }

    /// Says why files can't be written, where the plugin has some and that is so.
    pub(super) async fn explain(&self, error: CallError) -> CallError {
        match self.of_directory(LazyDirectory::why_no_room).await {
            Some(Err(errno)) => error.because(errno),
            _ => error,
        }
    }

    /// Whether there is room for new files, for a plugin that has some.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn check_room(&self) -> Result<(), String> {
        let looked = self.of_directory(LazyDirectory::check_room);
        let time_max = self.plugin().limits.call_time();
        match timeout(time_max, looked).await {
            Ok(looked) => looked.unwrap_or(Ok(())),
            Err(_) => Err(format!("the directory of its files did not answer within {time_max:?}")),
        }
    }

    /// Looks at the directory that the plugin is lent, if it is, on a thread that serves nobody.
    async fn of_directory<T: Send + 'static>(
        &self,
        look: impl FnOnce(&LazyDirectory) -> T + Send + 'static,
    ) -> Option<T> {
        self.plugin().grants.directory.as_ref()?;
        let plugin = self.plugin().clone();
        let looking = task::spawn_blocking(move || plugin.grants.directory.as_ref().map(look));
        looking.await.ok().flatten()
    }
}
