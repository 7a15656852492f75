// SPDX-License-Identifier: GPL-2.0
/*
 * One PCI device has an error on its bus as long as this module is loaded: it is cut off, and its
 * driver is told what pcie_do_recovery() and its like on other machines would tell it, under the
 * same lock. A fatal error ends with a reset of the bus, and the driver makes the device go on;
 * a permanent one does not end for that driver. For machines whose emulation has no fatal errors.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>

static char *device;
module_param(device, charp, 0);
MODULE_PARM_DESC(device, "where it is: 0000:00:03.0");

static bool permanent;
module_param(permanent, bool, 0);
MODULE_PARM_DESC(permanent, "whether it stays cut off");

static struct pci_dev *failed;

static const struct pci_error_handlers *handlers_of(struct pci_dev *pdev)
{
	return pdev->driver ? pdev->driver->err_handler : NULL;
}

static int coop_error_begin(struct pci_dev *pdev)
{
	pci_ers_result_t wanted = permanent ? PCI_ERS_RESULT_DISCONNECT : PCI_ERS_RESULT_NEED_RESET;
	const struct pci_error_handlers *handlers = handlers_of(pdev);
	pci_ers_result_t answer;
	u16 command;

	if (!handlers || !handlers->error_detected || !handlers->slot_reset || !handlers->resume)
		return -EOPNOTSUPP;
	/* It reads as all ones, reaches no memory, and interrupts nobody. */
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	command &= ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	command |= PCI_COMMAND_INTX_DISABLE;
	pci_write_config_word(pdev, PCI_COMMAND, command);
	pdev->error_state = permanent ? pci_channel_io_perm_failure : pci_channel_io_frozen;
	answer = handlers->error_detected(pdev, pdev->error_state);
	if (answer != wanted)
		pci_err(pdev, "error_detected: %u instead of %u\n", answer, wanted);
	return 0;
}

static void coop_error_end(struct pci_dev *pdev)
{
	const struct pci_error_handlers *handlers = handlers_of(pdev);
	pci_ers_result_t answer;

	if (pci_bridge_secondary_bus_reset(pdev->bus->self))
		pci_err(pdev, "its bus was not reset\n");
	/* Whoever looks there now finds another device. */
	if (permanent)
		return;
	pdev->error_state = pci_channel_io_normal;
	if (!handlers)
		return;
	answer = handlers->slot_reset(pdev);
	if (answer != PCI_ERS_RESULT_RECOVERED)
		pci_err(pdev, "slot_reset: %u\n", answer);
	else
		handlers->resume(pdev);
}

static int __init coop_error_init(void)
{
	struct device *dev;
	int error;

	if (!device)
		return -EINVAL;
	dev = bus_find_device_by_name(&pci_bus_type, NULL, device);
	if (!dev)
		return -ENODEV;
	device_lock(dev);
	error = to_pci_dev(dev)->bus->self ? coop_error_begin(to_pci_dev(dev)) : -EOPNOTSUPP;
	device_unlock(dev);
	if (error)
		put_device(dev);
	else
		failed = to_pci_dev(dev);
	return error;
}
module_init(coop_error_init);

static void __exit coop_error_exit(void)
{
	device_lock(&failed->dev);
	coop_error_end(failed);
	device_unlock(&failed->dev);
	pci_dev_put(failed);
}
module_exit(coop_error_exit);

MODULE_AUTHOR("The coop-domain project");
MODULE_DESCRIPTION("One PCI device has an error");
MODULE_LICENSE("GPL");
