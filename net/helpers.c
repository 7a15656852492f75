// SPDX-License-Identifier: GPL-2.0
/* See helpers.h. Each function is a few instructions; the thinking is in net/sys/. */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/netdev_queues.h>

#include "helpers.h"

/* The driver's part of a net_device. */
struct coop_net_priv {
	const struct coop_net_callbacks *callbacks;
	void *driver;
	const struct coop_net_stats *stats;
	u32 mbits;
	bool full_duplex;
	/* Up for the stack, but at rest: see coop_net_pause. */
	bool paused;
	/* The interrupt that has the poll called. */
	int irq;
	struct napi_struct napi;
};

/* Tells users by netlink which poll looks after the queues. */
static void coop_net_set_queues(struct net_device *dev, struct napi_struct *napi)
{
	netif_queue_set_napi(dev, 0, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(dev, 0, NETDEV_QUEUE_TYPE_TX, napi);
}

static int coop_net_poll(struct napi_struct *napi, int budget)
{
	struct coop_net_priv *priv = container_of(napi, struct coop_net_priv, napi);

	return priv->callbacks->poll(priv->driver, budget);
}

/*
 * The poll is there as long as the interface is up; what users set for it outlives it. (A poll
 * that only stays disabled has the kernel wait for ever when somebody takes its thread away.)
 */
static void coop_net_begin_polls(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	netif_napi_add_config(dev, &priv->napi, coop_net_poll, 0);
	netif_napi_set_irq(&priv->napi, priv->irq);
	napi_enable(&priv->napi);
}

static void coop_net_end_polls(struct net_device *dev)
{
	struct napi_struct *napi = coop_net_napi(dev);

	napi_disable(napi);
	netif_napi_del(napi);
}

static int coop_net_start(struct net_device *dev, int (*open)(void *driver))
{
	struct coop_net_priv *priv = netdev_priv(dev);
	int error;

	coop_net_begin_polls(dev);
	error = open(priv->driver);
	if (error) {
		coop_net_end_polls(dev);
		return error;
	}
	coop_net_set_queues(dev, &priv->napi);
	netif_start_queue(dev);
	return 0;
}

static int coop_net_open(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return coop_net_start(dev, priv->callbacks->open);
}

static int coop_net_stop(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	if (priv->paused) {
		priv->paused = false;
		return 0;
	}
	netif_tx_disable(dev);
	coop_net_set_queues(dev, NULL);
	coop_net_end_polls(dev);
	return priv->callbacks->stop(priv->driver);
}

void coop_net_pause(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	if (netif_running(dev) && !priv->paused) {
		coop_net_stop(dev);
		priv->paused = true;
	}
}

int coop_net_resume(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	int error = 0;

	if (priv->paused)
		error = coop_net_start(dev, priv->callbacks->resume);
	if (!error)
		priv->paused = false;
	return error;
}

static netdev_tx_t coop_net_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->start_xmit(priv->driver, skb, netdev_xmit_more());
}

static void coop_net_tx_timeout(struct net_device *dev, unsigned int queue)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	priv->callbacks->tx_timeout(priv->driver);
}

static int coop_net_change_address(struct net_device *dev, void *sockaddr)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	const u8 *address = ((struct sockaddr *)sockaddr)->sa_data;
	int error;

	if (!is_valid_ether_addr(address))
		return -EADDRNOTAVAIL;
	error = priv->callbacks->set_address(priv->driver, address);
	if (!error)
		eth_hw_addr_set(dev, address);
	return error;
}

static int coop_net_change_mtu(struct net_device *dev, int mtu)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	int error = priv->callbacks->set_mtu(priv->driver, mtu);

	if (!error)
		WRITE_ONCE(dev->mtu, mtu);
	return error;
}

static int coop_net_set_rx_mode(struct net_device *dev, struct netdev_hw_addr_list *unicast,
				struct netdev_hw_addr_list *multicast)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	struct coop_net_filter filter = {
		.promiscuous = dev->flags & IFF_PROMISC,
		.all_multicast = dev->flags & IFF_ALLMULTI,
	};
	struct netdev_hw_addr *address;
	unsigned int i = 0;
	int error;

	filter.addresses = kmalloc_array(unicast->count + multicast->count, ETH_ALEN, GFP_KERNEL);
	if (!filter.addresses)
		return -ENOMEM;
	netdev_hw_addr_list_for_each(address, unicast)
		ether_addr_copy(filter.addresses[i++], address->addr);
	filter.unicast = i;
	netdev_hw_addr_list_for_each(address, multicast)
		ether_addr_copy(filter.addresses[i++], address->addr);
	filter.multicast = i - filter.unicast;
	error = priv->callbacks->set_filter(priv->driver, &filter);
	kfree(filter.addresses);
	return error;
}

static int coop_net_set_features(struct net_device *dev, netdev_features_t features)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->set_features(priv->driver, features);
}

/* Tags are put in and taken out by the same switch of a device. */
static netdev_features_t coop_net_fix_features(struct net_device *dev,
					       netdev_features_t features)
{
	if (features & NETIF_F_HW_VLAN_CTAG_RX)
		return features | NETIF_F_HW_VLAN_CTAG_TX;
	return features & ~NETIF_F_HW_VLAN_CTAG_TX;
}

static int coop_net_add_vlan(struct net_device *dev, __be16 protocol, u16 id)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->set_vlan(priv->driver, id, true);
}

static int coop_net_remove_vlan(struct net_device *dev, __be16 protocol, u16 id)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->set_vlan(priv->driver, id, false);
}

/* The driver's coroutines write the counters while we read: each is one word. */
static void coop_net_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *to)
{
	const struct coop_net_stats *from = ((struct coop_net_priv *)netdev_priv(dev))->stats;

	to->rx_packets = READ_ONCE(from->rx_packets);
	to->rx_bytes = READ_ONCE(from->rx_bytes);
	to->rx_errors = READ_ONCE(from->rx_errors);
	to->rx_length_errors = READ_ONCE(from->rx_length_errors);
	to->rx_crc_errors = READ_ONCE(from->rx_crc_errors);
	to->rx_frame_errors = READ_ONCE(from->rx_frame_errors);
	to->rx_dropped = READ_ONCE(from->rx_dropped);
	to->rx_missed_errors = READ_ONCE(from->rx_missed_errors);
	to->tx_packets = READ_ONCE(from->tx_packets);
	to->tx_bytes = READ_ONCE(from->tx_bytes);
	to->multicast = READ_ONCE(from->multicast);
	to->collisions = READ_ONCE(from->collisions);
	to->tx_errors = READ_ONCE(from->tx_errors);
	to->tx_dropped = READ_ONCE(from->tx_dropped);
}

/* The same per queue, of which there is one each way. */
static void coop_net_get_rx_stats(struct net_device *dev, int queue,
				  struct netdev_queue_stats_rx *to)
{
	const struct coop_net_stats *from = ((struct coop_net_priv *)netdev_priv(dev))->stats;

	to->packets = READ_ONCE(from->rx_packets);
	to->bytes = READ_ONCE(from->rx_bytes);
	to->alloc_fail = READ_ONCE(from->rx_dropped);
	to->hw_drop_overruns = READ_ONCE(from->rx_missed_errors);
	to->hw_drops = to->hw_drop_overruns;
}

static void coop_net_get_tx_stats(struct net_device *dev, int queue,
				  struct netdev_queue_stats_tx *to)
{
	const struct coop_net_stats *from = ((struct coop_net_priv *)netdev_priv(dev))->stats;

	to->packets = READ_ONCE(from->tx_packets);
	to->bytes = READ_ONCE(from->tx_bytes);
	to->hw_gso_packets = READ_ONCE(from->tx_cut_frames);
	to->hw_gso_wire_packets = READ_ONCE(from->tx_cut_packets);
}

/* What queues counted that are no more: there are none. */
static void coop_net_get_base_stats(struct net_device *dev, struct netdev_queue_stats_rx *rx,
				    struct netdev_queue_stats_tx *tx)
{
	rx->packets = 0;
	rx->bytes = 0;
	rx->alloc_fail = 0;
	rx->hw_drop_overruns = 0;
	rx->hw_drops = 0;
	tx->packets = 0;
	tx->bytes = 0;
	tx->hw_gso_packets = 0;
	tx->hw_gso_wire_packets = 0;
}

static const struct netdev_stat_ops coop_net_stat_ops = {
	.get_queue_stats_rx	= coop_net_get_rx_stats,
	.get_queue_stats_tx	= coop_net_get_tx_stats,
	.get_base_stats		= coop_net_get_base_stats,
};

static const struct net_device_ops coop_net_device_ops = {
	.ndo_open		= coop_net_open,
	.ndo_stop		= coop_net_stop,
	.ndo_start_xmit		= coop_net_start_xmit,
	.ndo_get_stats64	= coop_net_get_stats64,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_tx_timeout		= coop_net_tx_timeout,
	.ndo_set_mac_address	= coop_net_change_address,
	.ndo_change_mtu		= coop_net_change_mtu,
	.ndo_set_rx_mode_async	= coop_net_set_rx_mode,
	.ndo_fix_features	= coop_net_fix_features,
	.ndo_set_features	= coop_net_set_features,
	.ndo_vlan_rx_add_vid	= coop_net_add_vlan,
	.ndo_vlan_rx_kill_vid	= coop_net_remove_vlan,
};

struct net_device *coop_net_alloc(struct device *parent, const struct coop_net_traits *traits)
{
	struct net_device *dev = alloc_etherdev(sizeof(struct coop_net_priv));
	struct coop_net_priv *priv;

	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, parent);
	dev->netdev_ops = &coop_net_device_ops;
	dev->max_mtu = traits->max_mtu;
	dev->features |= traits->features | NETIF_F_HIGHDMA;
	dev->hw_features |= traits->hw_features;
	dev->vlan_features |= traits->features & (NETIF_F_SG | NETIF_F_CSUM_MASK | NETIF_F_ALL_TSO);
	dev->priv_flags |= IFF_UNICAST_FLT | IFF_LIVE_ADDR_CHANGE;
	netif_set_tso_max_segs(dev, traits->max_segments);
	priv = netdev_priv(dev);
	dev->stat_ops = &coop_net_stat_ops;
	/* As after a poll has ended: who schedules it has no effect. */
	set_bit(NAPI_STATE_SCHED, &priv->napi.state);
	netif_carrier_off(dev);
	return dev;
}

void coop_net_free(struct net_device *dev)
{
	free_netdev(dev);
}

void coop_net_set_address(struct net_device *dev, const u8 *address)
{
	if (is_valid_ether_addr(address))
		eth_hw_addr_set(dev, address);
	else
		eth_hw_addr_random(dev);
}

int coop_net_register(struct net_device *dev, const struct coop_net_callbacks *callbacks,
		      const struct ethtool_ops *ethtool, void *driver,
		      const struct coop_net_stats *stats)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	int error;

	priv->callbacks = callbacks;
	priv->driver = driver;
	priv->stats = stats;
	dev->ethtool_ops = ethtool;
	error = coop_net_remember(dev);
	if (error)
		return error;
	error = register_netdev(dev);
	if (error)
		coop_net_forget(dev);
	return error;
}

void *coop_net_driver(struct net_device *dev)
{
	return ((struct coop_net_priv *)netdev_priv(dev))->driver;
}

struct device *coop_net_parent(struct net_device *dev)
{
	return dev->dev.parent;
}

/* Whether there is a link, and what it is like: see coop_net_set_carrier. */
bool coop_net_link(struct net_device *dev, u32 *mbits, bool *full_duplex)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	*mbits = priv->mbits;
	*full_duplex = priv->full_duplex;
	return netif_carrier_ok(dev);
}

/* Before it is registered: the interrupt that has the poll called. */
void coop_net_set_irq(struct net_device *dev, int irq)
{
	((struct coop_net_priv *)netdev_priv(dev))->irq = irq;
}

void coop_net_unregister(struct net_device *dev)
{
	coop_net_forget(dev);
	unregister_netdev(dev);
}

/* Where it is; it changes at any time. */
const char *coop_net_name(struct net_device *dev)
{
	return dev->name;
}

/* @to has room for IFNAMSIZ. */
void coop_net_copy_name(struct net_device *dev, char *to)
{
	strscpy(to, netdev_name(dev), IFNAMSIZ);
}

/*
 * Unregistering sets reg_state, waits for all RCU readers, and then for the link
 * watch: so an event fired here is either seen by that wait or not fired at all.
 */
void coop_net_set_carrier(struct net_device *dev, bool up, u32 mbits, bool full_duplex)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	priv->mbits = mbits;
	priv->full_duplex = full_duplex;
	rcu_read_lock();
	if (READ_ONCE(dev->reg_state) == NETREG_REGISTERED) {
		if (up)
			netif_carrier_on(dev);
		else
			netif_carrier_off(dev);
	}
	rcu_read_unlock();
}

void coop_net_stop_queue(struct net_device *dev)
{
	netif_stop_queue(dev);
}

void coop_net_wake_queue(struct net_device *dev)
{
	if (netif_running(dev))
		netif_wake_queue(dev);
}

/* A frame was given to the device. Whether to tell it so, or first wait for more. */
bool coop_net_sent(struct net_device *dev, unsigned int bytes, bool more)
{
	return __netdev_sent_queue(dev, bytes, more);
}

void coop_net_completed(struct net_device *dev, unsigned int frames, unsigned int bytes)
{
	netdev_completed_queue(dev, frames, bytes);
}

/* Nothing is being sent any more. */
void coop_net_reset_queue(struct net_device *dev)
{
	netdev_reset_queue(dev);
}

struct napi_struct *coop_net_napi(struct net_device *dev)
{
	return &((struct coop_net_priv *)netdev_priv(dev))->napi;
}

/* From the poll only. */
void coop_net_receive(struct net_device *dev, struct sk_buff *skb)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	skb->protocol = eth_type_trans(skb, dev);
	napi_gro_receive(&priv->napi, skb);
}

/* Any context. If the poll runs already, it runs once more. */
void coop_net_schedule_poll(struct net_device *dev)
{
	napi_schedule(&((struct coop_net_priv *)netdev_priv(dev))->napi);
}

/* From the poll only. Whether to switch interrupts on again. */
bool coop_net_complete_poll(struct net_device *dev, int work)
{
	return napi_complete_done(&((struct coop_net_priv *)netdev_priv(dev))->napi, work);
}
