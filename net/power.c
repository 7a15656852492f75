// SPDX-License-Identifier: GPL-2.0
/* What a PCI driver of NICs does when the system sleeps, and after errors; see helpers.h. */
#include <linux/device.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/rtnetlink.h>

#include "helpers.h"

/* The interface of a device, kept as a resource of it as long as it is registered. */
static void coop_net_forgotten(struct device *dev, void *interface) {}

int coop_net_remember(struct net_device *interface)
{
	struct net_device **kept = devres_alloc(coop_net_forgotten, sizeof(*kept), GFP_KERNEL);

	if (!kept)
		return -ENOMEM;
	*kept = interface;
	devres_add(interface->dev.parent, kept);
	return 0;
}

void coop_net_forget(struct net_device *interface)
{
	devres_destroy(interface->dev.parent, coop_net_forgotten, NULL, NULL);
}

/*
 * For what follows the device is locked, as it is when drivers are bound and unbound; so the
 * interface stays.
 */
static struct net_device *coop_net_of(struct device *dev)
{
	struct net_device **kept = devres_find(dev, coop_net_forgotten, NULL, NULL);

	return kept ? *kept : NULL;
}

/* Puts the device to rest; nobody reaches it until coop_net_go_on. */
static void coop_net_halt(struct device *dev)
{
	struct net_device *interface = coop_net_of(dev);

	if (!interface)
		return;
	rtnl_lock();
	netif_device_detach(interface);
	coop_net_pause(interface);
	rtnl_unlock();
}

/* The stack may have other addresses now, of which it tells no device that is away. */
static void coop_net_attach(struct net_device *interface)
{
	netif_device_attach(interface);
	/* The flags as they are: with them it tells the addresses anew. */
	dev_change_flags(interface, netif_get_flags(interface), NULL);
}

static int coop_net_go_on(struct device *dev)
{
	struct net_device *interface = coop_net_of(dev);
	int error;

	if (!interface)
		return 0;
	rtnl_lock();
	error = coop_net_resume(interface);
	if (error)
		netdev_err(interface, "does not come up again: %pe\n", ERR_PTR(error));
	else
		coop_net_attach(interface);
	rtnl_unlock();
	return error;
}

static int coop_net_sleep(struct device *dev)
{
	coop_net_halt(dev);
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(coop_net_pm_ops, coop_net_sleep, coop_net_go_on);

static void coop_net_shutdown(struct pci_dev *pdev)
{
	coop_net_halt(&pdev->dev);
}

static pci_ers_result_t coop_net_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	coop_net_halt(&pdev->dev);
	switch (state) {
	case pci_channel_io_normal:
		/* It was reset by its driver just now, and is again before it goes on. */
		return PCI_ERS_RESULT_CAN_RECOVER;
	case pci_channel_io_perm_failure:
		return PCI_ERS_RESULT_DISCONNECT;
	default:
		pci_clear_master(pdev);
		return PCI_ERS_RESULT_NEED_RESET;
	}
}

static pci_ers_result_t coop_net_slot_reset(struct pci_dev *pdev)
{
	/* As it was found at first, but for what pci_reenable_device and we switch on. */
	pci_restore_state(pdev);
	if (pci_reenable_device(pdev))
		return PCI_ERS_RESULT_DISCONNECT;
	pci_set_master(pdev);
	return PCI_ERS_RESULT_RECOVERED;
}

static void coop_net_error_over(struct pci_dev *pdev)
{
	coop_net_go_on(&pdev->dev);
}

static const struct pci_error_handlers coop_net_error_handlers = {
	.error_detected	= coop_net_error_detected,
	.slot_reset	= coop_net_slot_reset,
	.resume		= coop_net_error_over,
	/* Somebody resets the device for another reason, and restores what PCI knows of it. */
	.reset_prepare	= coop_net_shutdown,
	.reset_done	= coop_net_error_over,
};

void coop_net_pci_driver(struct pci_driver *driver)
{
	driver->driver.pm = pm_sleep_ptr(&coop_net_pm_ops);
	driver->shutdown = coop_net_shutdown;
	driver->err_handler = &coop_net_error_handlers;
}
