/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of the network glue: what net/sys/ cannot say in Rust, because the
 * kernel's Rust bindings do not know struct net_device, or because the C function
 * is an inline one. net/sys/ffi.rs repeats these declarations.
 */
#ifndef COOP_NET_HELPERS_H
#define COOP_NET_HELPERS_H

#include <linux/etherdevice.h>
#include <linux/netdevice.h>

/* Which frames are wanted besides those to the interface's own address. */
struct coop_net_filter {
	bool promiscuous;
	bool all_multicast;
	unsigned int unicast;
	unsigned int multicast;
	/* First the unicast ones, then the multicast ones. */
	u8 (*addresses)[ETH_ALEN];
};

/* What the network stack asks of a driver; @driver is what it registered. */
struct coop_net_callbacks {
	int (*open)(void *driver);
	int (*stop)(void *driver);
	int (*resume)(void *driver);
	netdev_tx_t (*start_xmit)(void *driver, struct sk_buff *skb, bool more);
	int (*poll)(void *driver, int budget);
	void (*tx_timeout)(void *driver);
	int (*set_address)(void *driver, const u8 *address);
	int (*set_mtu)(void *driver, unsigned int mtu);
	int (*set_filter)(void *driver, const struct coop_net_filter *filter);
	int (*set_features)(void *driver, netdev_features_t features);
	int (*set_vlan)(void *driver, u16 id, bool wanted);
};

/* Keep in step with struct Stats in stats.rs. */
struct coop_net_stats {
	u64 rx_packets;
	u64 rx_bytes;
	u64 rx_errors;
	u64 rx_length_errors;
	u64 rx_crc_errors;
	u64 rx_frame_errors;
	u64 rx_dropped;
	u64 rx_missed_errors;
	u64 tx_packets;
	u64 tx_bytes;
	u64 multicast;
	u64 collisions;
	u64 tx_errors;
	u64 tx_dropped;
	u64 tx_cut_frames;
	u64 tx_cut_packets;
};

/* What an interface can do; the driver says so when it makes one. */
struct coop_net_traits {
	/* What is on, and what can be switched. */
	netdev_features_t features;
	netdev_features_t hw_features;
	unsigned int max_mtu;
	/* So many segments at most is a frame cut into. */
	u16 max_segments;
};

struct net_device *coop_net_alloc(struct device *parent, const struct coop_net_traits *traits);
void coop_net_free(struct net_device *dev);
void coop_net_set_address(struct net_device *dev, const u8 *address);
int coop_net_register(struct net_device *dev, const struct coop_net_callbacks *callbacks,
		      const struct ethtool_ops *ethtool, void *driver,
		      const struct coop_net_stats *stats);
void *coop_net_driver(struct net_device *dev);
struct device *coop_net_parent(struct net_device *dev);
bool coop_net_link(struct net_device *dev, u32 *mbits, bool *full_duplex);
void coop_net_set_irq(struct net_device *dev, int irq);
void coop_net_unregister(struct net_device *dev);
const char *coop_net_name(struct net_device *dev);
void coop_net_copy_name(struct net_device *dev, char *to);
struct napi_struct *coop_net_napi(struct net_device *dev);

void coop_net_set_carrier(struct net_device *dev, bool up, u32 mbits, bool full_duplex);
void coop_net_stop_queue(struct net_device *dev);
void coop_net_wake_queue(struct net_device *dev);
bool coop_net_sent(struct net_device *dev, unsigned int bytes, bool more);
void coop_net_completed(struct net_device *dev, unsigned int frames, unsigned int bytes);
void coop_net_reset_queue(struct net_device *dev);

void coop_net_receive(struct net_device *dev, struct sk_buff *skb);
void coop_net_schedule_poll(struct net_device *dev);
bool coop_net_complete_poll(struct net_device *dev, int work);

/* With rtnl: as ndo_stop and ndo_open, if the interface is up, without the stack's knowledge. */
void coop_net_pause(struct net_device *dev);
int coop_net_resume(struct net_device *dev);

/* --- power.c --- */

struct pci_driver;

int coop_net_remember(struct net_device *interface);
void coop_net_forget(struct net_device *interface);
void coop_net_pci_driver(struct pci_driver *driver);

/* --- frames.c --- */

struct page_pool;

/* One piece of a frame, as the device finds it. */
struct coop_net_piece {
	dma_addr_t dma;
	u32 len;
};

/* Keep in step with ffi::MAX_PIECES. */
#define COOP_NET_MAX_PIECES 18

enum { COOP_NET_PLAIN, COOP_NET_CHECKSUM, COOP_NET_SEGMENT };

/*
 * What the device is to do with a frame while it sends it; offsets and lengths in bytes. Devices
 * have a byte for what is in the headers: what is further away, the CPU sums up.
 */
struct coop_net_offload {
	u8 what;
	bool tcp;
	/* Whether to put in a VLAN tag, and which. */
	bool tagged;
	u16 tag;
	/* For COOP_NET_SEGMENT only: IPv4, where its header begins, how long all headers are,
	 * how much data a segment has.
	 */
	bool ipv4;
	u8 network;
	u8 headers;
	u16 segment;
	/* Where the sum begins, and where it goes. */
	u8 start;
	u8 field;
};

/* What has been sent: frames as the stack gave them, packets as they went over the wire. */
struct coop_net_sent {
	u32 frames;
	u32 frame_bytes;
	u64 packets;
	u64 bytes;
	/* Of these, what the device has cut into segments, and the segments. */
	u32 cut_frames;
	u32 cut_packets;
};

struct page_pool *coop_net_rx_pool(struct net_device *netdev, unsigned int count,
				   unsigned int len);
void coop_net_rx_pool_free(struct page_pool *pool);
void *coop_net_rx_alloc(struct page_pool *pool, dma_addr_t *dma);
void coop_net_rx_free(struct page_pool *pool, void *buffer);
struct sk_buff *coop_net_rx_build(struct net_device *netdev, struct page_pool *pool,
				  void *buffer, unsigned int len);
bool coop_net_rx_append(struct sk_buff *skb, struct page_pool *pool, void *buffer,
			unsigned int len);
struct sk_buff *coop_net_rx_copy(struct net_device *netdev, struct device *dev,
				 const void *buffer, dma_addr_t dma, unsigned int len);
bool coop_net_rx_holds(struct device *dev, const void *buffer, dma_addr_t dma,
		       const u8 *bytes, unsigned int len);
void coop_net_rx_tag(struct sk_buff *skb, u16 tag);
void coop_net_rx_checksum_is_good(struct sk_buff *skb);

struct sk_buff *coop_net_tx_new(struct net_device *dev, const u8 *bytes, unsigned int len);
int coop_net_tx_map(struct device *dev, struct sk_buff *skb, struct coop_net_piece *pieces,
		    struct coop_net_offload *offload);
void coop_net_tx_done(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int count,
		      struct coop_net_sent *sent);
void coop_net_tx_undo(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int count);
void coop_net_tx_drop(struct sk_buff *skb);

struct sk_buff *coop_net_take(struct net_device *dev, const void *bytes, unsigned int len);
unsigned int coop_net_put(struct sk_buff *skb, void *to, unsigned int room);

#endif /* COOP_NET_HELPERS_H */
