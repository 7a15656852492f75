// SPDX-License-Identifier: GPL-2.0
/* See helpers.h. Each function is a few instructions; the thinking is in net/sys/. */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/gro.h>

#include "helpers.h"

/* The driver's part of a net_device. */
struct coop_net_priv {
	const struct coop_net_callbacks *callbacks;
	void *driver;
	const struct coop_net_stats *stats;
	u32 mbits;
	bool full_duplex;
	/* Never enabled, so never scheduled or polled: only its GRO node is used. */
	struct napi_struct napi;
};

static int coop_net_open(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->open(priv->driver);
}

static int coop_net_stop(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->stop(priv->driver);
}

static netdev_tx_t coop_net_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	return priv->callbacks->start_xmit(priv->driver, skb);
}

/* The driver's coroutines write the counters while we read: each is one word. */
static void coop_net_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *to)
{
	const struct coop_net_stats *from = ((struct coop_net_priv *)netdev_priv(dev))->stats;

	to->rx_packets = READ_ONCE(from->rx_packets);
	to->rx_bytes = READ_ONCE(from->rx_bytes);
	to->rx_errors = READ_ONCE(from->rx_errors);
	to->rx_dropped = READ_ONCE(from->rx_dropped);
	to->rx_missed_errors = READ_ONCE(from->rx_missed_errors);
	to->tx_packets = READ_ONCE(from->tx_packets);
	to->tx_bytes = READ_ONCE(from->tx_bytes);
	to->tx_dropped = READ_ONCE(from->tx_dropped);
}

static const struct net_device_ops coop_net_device_ops = {
	.ndo_open		= coop_net_open,
	.ndo_stop		= coop_net_stop,
	.ndo_start_xmit		= coop_net_start_xmit,
	.ndo_get_stats64	= coop_net_get_stats64,
	.ndo_validate_addr	= eth_validate_addr,
};

static int coop_net_get_link_ksettings(struct net_device *dev,
				       struct ethtool_link_ksettings *settings)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	bool up = netif_carrier_ok(dev);

	settings->base.speed = up ? priv->mbits : SPEED_UNKNOWN;
	settings->base.duplex = !up ? DUPLEX_UNKNOWN :
				priv->full_duplex ? DUPLEX_FULL : DUPLEX_HALF;
	settings->base.autoneg = AUTONEG_ENABLE;
	settings->base.port = PORT_TP;
	return 0;
}

static const struct ethtool_ops coop_net_ethtool_ops = {
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= coop_net_get_link_ksettings,
};

static int coop_net_no_poll(struct napi_struct *napi, int budget)
{
	return 0;
}

struct net_device *coop_net_alloc(struct device *parent)
{
	struct net_device *dev = alloc_etherdev(sizeof(struct coop_net_priv));
	struct coop_net_priv *priv;

	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, parent);
	dev->netdev_ops = &coop_net_device_ops;
	dev->ethtool_ops = &coop_net_ethtool_ops;
	dev->max_mtu = ETH_DATA_LEN;
	dev->features |= NETIF_F_HIGHDMA;
	priv = netdev_priv(dev);
	set_bit(NAPI_STATE_NO_BUSY_POLL, &priv->napi.state);
	netif_napi_add(dev, &priv->napi, coop_net_no_poll);
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
		      void *driver, const struct coop_net_stats *stats)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	priv->callbacks = callbacks;
	priv->driver = driver;
	priv->stats = stats;
	return register_netdev(dev);
}

void coop_net_unregister(struct net_device *dev)
{
	unregister_netdev(dev);
}

const char *coop_net_name(struct net_device *dev)
{
	return netdev_name(dev);
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

void coop_net_start_queue(struct net_device *dev)
{
	netif_start_queue(dev);
}

/* Full barrier: a caller that looks for room afterwards pairs with coop_net_wake_queue(). */
void coop_net_stop_queue(struct net_device *dev)
{
	netif_stop_queue(dev);
	smp_mb();
}

/* Call after making room. */
void coop_net_wake_queue(struct net_device *dev)
{
	smp_mb();
	if (netif_queue_stopped(dev) && netif_running(dev))
		netif_wake_queue(dev);
}

void coop_net_bh_disable(void)
{
	local_bh_disable();
}

void coop_net_bh_enable(void)
{
	local_bh_enable();
}

/*
 * With bottom halves off, which is an RCU reader, too. Closing the device clears
 * __LINK_STATE_START and waits for RCU readers before the device goes away, so the
 * stack never sees a frame of a device that is gone.
 */
void coop_net_receive(struct net_device *dev, struct sk_buff *skb)
{
	struct coop_net_priv *priv = netdev_priv(dev);

	if (likely(netif_running(dev)))
		gro_receive_skb(&priv->napi.gro, skb);
	else
		dev_kfree_skb_any(skb);
}

/* What gro_flush_normal() does; that one calls a function that is not exported. */
void coop_net_flush(struct net_device *dev)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	struct gro_node *gro = &priv->napi.gro;

	gro_flush(gro, false);
	if (gro->rx_count) {
		netif_receive_skb_list(&gro->rx_list);
		INIT_LIST_HEAD(&gro->rx_list);
		gro->rx_count = 0;
	}
}

#define COOP_NET_HEADROOM (NET_SKB_PAD + NET_IP_ALIGN)

static unsigned int coop_net_rx_truesize(unsigned int len)
{
	return SKB_DATA_ALIGN(COOP_NET_HEADROOM + len) +
	       SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
}

/* A buffer for frames of up to @len bytes, which becomes an sk_buff without a copy. */
void *coop_net_rx_alloc(unsigned int len)
{
	return netdev_alloc_frag(coop_net_rx_truesize(len));
}

/* Where in @buffer the frame begins. */
void *coop_net_rx_data(void *buffer)
{
	return buffer + COOP_NET_HEADROOM;
}

void coop_net_rx_free(void *buffer)
{
	skb_free_frag(buffer);
}

/* Bottom halves off. Takes @buffer over, unless it returns NULL. */
struct sk_buff *coop_net_rx_build(struct net_device *dev, void *buffer, unsigned int size,
				  unsigned int len)
{
	struct sk_buff *skb = napi_build_skb(buffer, coop_net_rx_truesize(size));

	if (unlikely(!skb))
		return NULL;
	skb_reserve(skb, COOP_NET_HEADROOM);
	skb_put(skb, len);
	skb->protocol = eth_type_trans(skb, dev);
	return skb;
}

/* Bottom halves off. Leaves @buffer to its owner. */
struct sk_buff *coop_net_rx_copy(struct net_device *dev, const void *buffer,
				 unsigned int len)
{
	struct coop_net_priv *priv = netdev_priv(dev);
	struct sk_buff *skb = napi_alloc_skb(&priv->napi, len);

	if (unlikely(!skb))
		return NULL;
	skb_put_data(skb, buffer + COOP_NET_HEADROOM, len);
	skb->protocol = eth_type_trans(skb, dev);
	return skb;
}

/* Frees @skb if it fails. */
bool coop_net_tx_pad(struct sk_buff *skb)
{
	return !eth_skb_pad(skb);
}

void coop_net_tx_drop(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

static enum dma_data_direction coop_net_direction(bool to_device)
{
	return to_device ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
}

/* DMA_MAPPING_ERROR if it fails. */
dma_addr_t coop_net_dma_map(struct device *dev, void *data, unsigned int len, bool to_device)
{
	dma_addr_t dma = dma_map_single(dev, data, len, coop_net_direction(to_device));

	return dma_mapping_error(dev, dma) ? DMA_MAPPING_ERROR : dma;
}

void coop_net_dma_unmap(struct device *dev, dma_addr_t dma, unsigned int len, bool to_device)
{
	dma_unmap_single(dev, dma, len, coop_net_direction(to_device));
}

void coop_net_dma_sync_for_cpu(struct device *dev, dma_addr_t dma, unsigned int len)
{
	dma_sync_single_for_cpu(dev, dma, len, DMA_FROM_DEVICE);
}

void coop_net_dma_sync_for_device(struct device *dev, dma_addr_t dma, unsigned int len)
{
	dma_sync_single_for_device(dev, dma, len, DMA_FROM_DEVICE);
}
