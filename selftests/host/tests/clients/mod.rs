// SPDX-License-Identifier: GPL-2.0

//! Those who wait in the property tests of `coop/sync`: how many, and who of them was woken.

use coop_host::wait_list::{Place, WakeUp};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;

pub const CLIENTS: usize = 6;

/// Says who was woken.
pub struct Wake {
    pub client: usize,
    pub log: Rc<RefCell<Vec<usize>>>,
}

impl WakeUp for Wake {
    fn wake_up(self) {
        self.log.borrow_mut().push(self.client);
    }
}

/// A place for each client.
pub fn places() -> Vec<Pin<Box<Place<Wake>>>> {
    (0..CLIENTS).map(|_| Box::pin(Place::new())).collect()
}

/// That of one client.
pub fn place_of(places: &mut [Pin<Box<Place<Wake>>>], client: usize) -> &mut Place<Wake> {
    // SAFETY: Not moved.
    unsafe { places[client].as_mut().get_unchecked_mut() }
}
