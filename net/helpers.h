/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of the network glue: what net/sys/ cannot say in Rust, because the
 * kernel's Rust bindings do not know struct net_device, or because the C function
 * is an inline one. net/sys/ffi.rs repeats these declarations.
 */
#ifndef COOP_NET_HELPERS_H
#define COOP_NET_HELPERS_H

#include <linux/netdevice.h>

/* What the network stack asks of a driver; @driver is what it registered. */
struct coop_net_callbacks {
	int (*open)(void *driver);
	int (*stop)(void *driver);
	netdev_tx_t (*start_xmit)(void *driver, struct sk_buff *skb);
};

/* Keep in step with struct Stats in stats.rs. */
struct coop_net_stats {
	u64 rx_packets;
	u64 rx_bytes;
	u64 rx_errors;
	u64 rx_dropped;
	u64 rx_missed_errors;
	u64 tx_packets;
	u64 tx_bytes;
	u64 tx_dropped;
};

struct net_device *coop_net_alloc(struct device *parent);
void coop_net_free(struct net_device *dev);
void coop_net_set_address(struct net_device *dev, const u8 *address);
int coop_net_register(struct net_device *dev, const struct coop_net_callbacks *callbacks,
		      void *driver, const struct coop_net_stats *stats);
void coop_net_unregister(struct net_device *dev);
const char *coop_net_name(struct net_device *dev);

void coop_net_set_carrier(struct net_device *dev, bool up, u32 mbits, bool full_duplex);
void coop_net_start_queue(struct net_device *dev);
void coop_net_stop_queue(struct net_device *dev);
void coop_net_wake_queue(struct net_device *dev);

void coop_net_bh_disable(void);
void coop_net_bh_enable(void);
void coop_net_receive(struct net_device *dev, struct sk_buff *skb);
void coop_net_flush(struct net_device *dev);

void *coop_net_rx_alloc(unsigned int len);
void *coop_net_rx_data(void *buffer);
void coop_net_rx_free(void *buffer);
struct sk_buff *coop_net_rx_build(struct net_device *dev, void *buffer, unsigned int size,
				  unsigned int len);
struct sk_buff *coop_net_rx_copy(struct net_device *dev, const void *buffer,
				 unsigned int len);

bool coop_net_tx_pad(struct sk_buff *skb);
void coop_net_tx_drop(struct sk_buff *skb);

dma_addr_t coop_net_dma_map(struct device *dev, void *data, unsigned int len,
			    bool to_device);
void coop_net_dma_unmap(struct device *dev, dma_addr_t dma, unsigned int len,
			bool to_device);
void coop_net_dma_sync_for_cpu(struct device *dev, dma_addr_t dma, unsigned int len);
void coop_net_dma_sync_for_device(struct device *dev, dma_addr_t dma, unsigned int len);

#endif /* COOP_NET_HELPERS_H */
