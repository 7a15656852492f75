// SPDX-License-Identifier: GPL-2.0
/*
 * As long as this module is loaded, virtio devices stay awake when the system sleeps: the guest's file
 * system is on one that does not come back. Such an exception is there for devices that the
 * system needs until the end (dev_pm_syscore_device()).
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm.h>

static int coop_awake_child(struct device *dev, void *on)
{
	dev_pm_syscore_device(dev, on);
	return 0;
}

static void coop_awake(void *on)
{
	struct pci_dev *pdev = NULL;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_REDHAT_QUMRANET, PCI_ANY_ID, pdev))) {
		dev_pm_syscore_device(&pdev->dev, on);
		device_for_each_child(&pdev->dev, on, coop_awake_child);
	}
}

static int __init coop_awake_init(void)
{
	coop_awake(&coop_awake);
	return 0;
}
module_init(coop_awake_init);

static void __exit coop_awake_exit(void)
{
	coop_awake(NULL);
}
module_exit(coop_awake_exit);

MODULE_AUTHOR("The coop-domain project");
MODULE_DESCRIPTION("Virtio devices stay awake");
MODULE_LICENSE("GPL");
