// SPDX-License-Identifier: GPL-2.0

//! Waiting for a time to pass, in a coroutine.

use coop_domain::Signal;
use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{Arc, ArcBorrow},
    time::{
        hrtimer::{
            ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
            HrTimerRestart, RelativeMode,
        },
        Delta, Monotonic,
    },
};

/// A timer that one coroutine waits for.
pub(crate) struct Alarm(Arc<Inner>);

#[pin_data]
struct Inner {
    #[pin]
    timer: HrTimer<Self>,
    rings: Signal,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Inner {
        mode: RelativeMode<Monotonic>,
        field: self.timer
    }
}

impl HrTimerCallback for Inner {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.rings.signal();
        HrTimerRestart::NoRestart
    }
}

impl Alarm {
    pub(crate) fn new() -> Result<Self> {
        let inner = Arc::pin_init(
            pin_init!(Inner {
                timer <- HrTimer::new(),
                rings: Signal::new(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self(inner))
    }

    /// Lets `delta` pass. If the future is dropped before, so is the timer.
    pub(crate) async fn sleep(&self, delta: Delta) {
        self.0.rings.try_wait();
        let _handle: ArcHrTimerHandle<Inner> = self.0.clone().start(delta);
        self.0.rings.wait().await;
    }
}
