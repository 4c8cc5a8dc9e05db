/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Registers and descriptors of Intel's 8254x and 82574 (PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual, 13; 82574 datasheet, 10), those that the driver needs.
 */
#define E1000_CTRL        0x0000
#define E1000_STATUS      0x0008
#define E1000_EERD        0x0014
#define E1000_CTRL_EXT    0x0018
#define E1000_FCAL        0x0028 /* the addresses and times of flow control, which is left off */
#define E1000_FCAH        0x002c
#define E1000_FCT         0x0030
#define E1000_ICR         0x00c0
#define E1000_IMC         0x00d8
#define E1000_RCTL        0x0100
#define E1000_FCTTV       0x0170
#define E1000_TCTL        0x0400
#define E1000_TIPG        0x0410
#define E1000_RDBAL       0x2800
#define E1000_RDBAH       0x2804
#define E1000_RDLEN       0x2808
#define E1000_RDH         0x2810
#define E1000_RDT         0x2818
#define E1000_RDTR        0x2820
#define E1000_TDBAL       0x3800
#define E1000_TDBAH       0x3804
#define E1000_TDLEN       0x3808
#define E1000_TDH         0x3810
#define E1000_TDT         0x3818
#define E1000_TXDCTL      0x3828
#define E1000_MPC         0x4010 /* missed packets, cleared when read */
#define E1000_RXCSUM      0x5000
#define E1000_RFCTL       0x5008
#define E1000_MTA(i)      (0x5200 + 4 * (i))
#define E1000_RAL0        0x5400
#define E1000_RAH0        0x5404

#define CTRL_FD           BIT(0)
#define CTRL_NO_MASTER    BIT(2)  /* 82574 */
#define CTRL_LRST         BIT(3)
#define CTRL_ASDE         BIT(5)
#define CTRL_SLU          BIT(6)
#define CTRL_ILOS         BIT(7)
#define CTRL_FRCSPD       BIT(11)
#define CTRL_FRCDPX       BIT(12)
#define CTRL_RST          BIT(26)
#define CTRL_VME          BIT(30)
#define CTRL_PHY_RST      BIT(31)
#define CTRL_EXT_LOADED   BIT(28) /* 82574: a driver is there */
#define STATUS_LU         BIT(1)
#define STATUS_MASTER     BIT(19) /* 82574 */
#define EERD_START        BIT(0)
#define RCTL_EN           BIT(1)
#define RCTL_UPE          BIT(3)
#define RCTL_MPE          BIT(4)
#define RCTL_BAM          BIT(15)
#define RCTL_SECRC        BIT(26)
#define TCTL_EN           BIT(1)
#define TCTL_PSP          BIT(3)
#define TCTL_COLLISIONS   (15u << 4 | 64u << 12)
#define TIPG_COPPER       (8u | 8u << 10 | 6u << 20)
#define TXDCTL_82574      (BIT(22) | BIT(24) | 1u << 16) /* thresholds count descriptors; each is written back */
#define RXCSUM_IP_TCP     (BIT(8) | BIT(9))
#define RAH_VALID         BIT(31)

struct e1000_rx {
    uint64_t address;
    uint16_t bytes;
    uint16_t checksum;
    uint8_t status, errors;
    uint16_t special;
};

#define RX_DONE           0x01u
#define RX_END            0x02u   /* of a packet */
#define RX_UNCHECKED      0x04u
#define RX_TCP_CHECKED    0x20u
#define RX_ERRORS         0x87u   /* CRC, symbol, sequence, data */
#define RX_SUM_ERRORS     0x60u   /* TCP or UDP, IP */

struct e1000_tx {
    uint64_t address;
    uint16_t bytes;
    uint8_t checksum_offset, command, status, checksum_start;
    uint16_t special;
};

#define TX_END            0x01u   /* of a packet */
#define TX_FCS            0x02u
#define TX_REPORT         0x08u
#define TX_DONE           0x01u

_Static_assert(sizeof(struct e1000_rx) == 16 && sizeof(struct e1000_tx) == 16, "manual, 3.2.3 and 3.3.3");
