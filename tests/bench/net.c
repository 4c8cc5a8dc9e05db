/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * TCP between two guests, measured by the one that calls; the processor is one for both, so its ticks are those of both
 * ends together.
 *   net serve                  answers all calls, for ever
 *   net send ADDRESS MIB BYTES a stream in messages of so many bytes; the other end reads and throws away
 *   net file ADDRESS FILE N    sendfile of all of it N times, likewise
 *   net check ADDRESS FILE     once, and both ends add up what they have seen
 *   net skip ADDRESS FILE N    sendfile, and the other end drops what comes without looking at it, as iperf3 can
 *   net zero ADDRESS MIB BYTES the stream without the sender's copy: MSG_ZEROCOPY, from large pages
 *   net zero-skip ADDRESS MIB BYTES  the same, and the other end drops it
 *   net echo ADDRESS N BYTES   round trips
 *   net datagram ADDRESS N BYTES  round trips over UDP
 *   net none                   nothing, said in the same way
 *   net smc serve|send|file|check|echo ...  the same with sockets of AF_SMC, which fall back to TCP if they must
 *   net big INTERFACE BYTES    it takes and gives TCP packets of that size (over IPv6: jumbograms), as ip-link's
 *                              gso_max_size and gro_max_size do
 *   net stats INTERFACE        what its driver counts, as ethtool -S prints it
 *   net trace send|file|skip|echo ...  the same with two stops for Bochs' debugger (magic_break): at the half of it,
 *                              and 4 MiB or 20 round trips later
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ticks.h"

#define PORT 5001
#define MIB (1u << 20)

/* The first word of a call: the length of each message to echo, or one of these. */
enum { SINK = -1, CHECK = -2, SKIP = -3 };

/* Memory that MSG_ZEROCOPY sends from, over and over, in pages of 2 MiB. */
enum { LARGE_PAGE = 2 * MIB, LARGE_BYTES = 2 * LARGE_PAGE };

enum { TRACED_MIB = 4, TRACED_ECHOES = 20 };

static char buffer[MIB];
static int traced, smc;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Here the debugger may begin and end a trace of all instructions. */
static void stop_if(int here)
{
    if (traced && here)
        __asm__ volatile("xchgw %bx, %bx");
}

/* Some of `all` bytes were sent. */
static void stop_between(uint64_t before, uint64_t now, uint64_t all)
{
    uint64_t first = all / 2, second = first + TRACED_MIB * MIB;

    stop_if((before < first && now >= first) || (before < second && now >= second));
}

static uint64_t add_up(uint64_t sum, const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (unsigned char)at[i]) * 1099511628211u;
    return sum;
}

static void transfer(int fd, int out, char *at, size_t n)
{
    while (n) {
        ssize_t step = out ? write(fd, at, n) : read(fd, at, n);

        if (step <= 0)
            die(out ? "write" : "read");
        at += step;
        n -= (size_t)step;
    }
}

/* Until the caller has said all; then it is told how much that was, or its sum. */
static void sink(int fd, int what)
{
    uint64_t bytes = 0, sum = 0;
    ssize_t n;

    while ((n = recv(fd, buffer, 128 * 1024, what == SKIP ? MSG_TRUNC : 0)) > 0) {
        bytes += (uint64_t)n;
        if (what == CHECK)
            sum = add_up(sum, buffer, (size_t)n);
    }
    if (what == CHECK)
        bytes = sum;
    transfer(fd, 1, (char *)&bytes, sizeof(bytes));
}

static void answer(int fd)
{
    int32_t what;

    transfer(fd, 0, (char *)&what, sizeof(what));
    if (what < 0) {
        sink(fd, what);
        return;
    }
    for (;;) {
        transfer(fd, 0, buffer, (size_t)what);
        transfer(fd, 1, buffer, (size_t)what);
    }
}

/* An address of either family. */
union address { struct sockaddr any; struct sockaddr_in four; struct sockaddr_in6 six; };

/* NULL: any address. */
static socklen_t set_address(union address *to, int family, const char *text)
{
    memset(to, 0, sizeof(*to));
    to->any.sa_family = (sa_family_t)family;
    to->four.sin_port = htons(PORT); /* IPv6 has it at the same place */
    if (text && inet_pton(family, text, family == AF_INET6 ? (void *)&to->six.sin6_addr : &to->four.sin_addr) != 1)
        die(text);
    return family == AF_INET6 ? sizeof(to->six) : sizeof(to->four);
}

/* Programs that know TCP only are made to ask for AF_SMC in the same place (smc_run). */
static int new_socket(int family, int type)
{
    int fd = smc && type == SOCK_STREAM ? socket(AF_SMC, type, family == AF_INET6) : socket(family, type, 0);

    if (fd < 0)
        die("socket");
    return fd;
}

static int bound(int family, int type)
{
    int fd = new_socket(family, type), one = 1;
    union address at;
    socklen_t length = set_address(&at, family, NULL);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &at.any, length))
        die("bind");
    return fd;
}

static void answer_datagrams(int fd)
{
    union address from;
    ssize_t n;

    for (;;) {
        socklen_t length = sizeof(from);

        n = recvfrom(fd, buffer, sizeof(buffer), 0, &from.any, &length);
        if (n >= 0)
            sendto(fd, buffer, (size_t)n, 0, &from.any, length);
    }
}

static void serve(int family)
{
    int fd = bound(family, SOCK_STREAM), one = 1, peer;

    signal(SIGCHLD, SIG_IGN);
    if (!fork())
        answer_datagrams(bound(family, SOCK_DGRAM));
    if (listen(fd, 8))
        die("listen");
    while ((peer = accept(fd, NULL, NULL)) >= 0) {
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (!fork()) {
            answer(peer);
            exit(0);
        }
        close(peer);
    }
}

static int connected(const char *address, int type)
{
    int family = strchr(address, ':') ? AF_INET6 : AF_INET, fd = new_socket(family, type);
    union address to;
    socklen_t length = set_address(&to, family, address);

    if (connect(fd, &to.any, length))
        die("connect");
    return fd;
}

static int call(const char *address, int32_t what)
{
    int fd = connected(address, SOCK_STREAM), one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    transfer(fd, 1, (char *)&what, sizeof(what));
    return fd;
}

/* What the other end says when it has all. */
static uint64_t end(int fd)
{
    uint64_t word;

    shutdown(fd, SHUT_WR);
    transfer(fd, 0, (char *)&word, sizeof(word));
    return word;
}

static void send_stream(const char *address, size_t bytes, size_t message)
{
    int fd = call(address, SINK);
    uint64_t start = ticks_now(), got;

    for (size_t left = bytes; left >= message; left -= message) {
        transfer(fd, 1, buffer, message);
        stop_between(bytes - left, bytes - left + message, bytes);
    }
    got = end(fd);
    printf("bench: net_send_%zu %lu %lu\n", message, (unsigned long)(ticks_now() - start), (unsigned long)got);
}

/* The kernel has them by itself or not at all: a figure of small pages would not be what it says. */
static char *large_pages(size_t bytes)
{
    char *at = mmap(NULL, bytes + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), line[128];
    FILE *smaps = fopen("/proc/self/smaps_rollup", "r");
    unsigned long kib = 0;

    if (at == MAP_FAILED || !smaps)
        die("large pages");
    at += -(uintptr_t)at % LARGE_PAGE;
    madvise(at, bytes, MADV_HUGEPAGE);
    memset(at, 'z', bytes);
    while (!kib && fgets(line, sizeof(line), smaps))
        sscanf(line, "AnonHugePages: %lu", &kib);
    fclose(smaps);
    if (kib * 1024 < bytes) {
        fprintf(stderr, "net: %lu KiB in large pages\n", kib);
        exit(1);
    }
    return at;
}

/* Waits until messages are out of the kernel's hands; how many are now, of those that were sent. */
static uint32_t await_sent(int fd, uint32_t done)
{
    char control[128];
    struct msghdr m = { .msg_control = control, .msg_controllen = sizeof(control) };
    struct pollfd p = { .fd = fd };
    struct sock_extended_err *e;

    if (poll(&p, 1, -1) < 0 || recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0 || !CMSG_FIRSTHDR(&m))
        die("MSG_ERRQUEUE");
    e = (struct sock_extended_err *)CMSG_DATA(CMSG_FIRSTHDR(&m));
    if (e->ee_origin != SO_EE_ORIGIN_ZEROCOPY || e->ee_code || e->ee_info != done) {
        fprintf(stderr, "net: zerocopy: origin %u, code %u, %u after %u\n", e->ee_origin, e->ee_code, e->ee_info, done);
        exit(1);
    }
    return e->ee_data + 1;
}

static void send_uncopied(const char *address, int32_t what, size_t bytes, size_t message)
{
    int fd = call(address, what), one = 1;
    uint32_t places = (uint32_t)(LARGE_BYTES / message), done = 0;
    char *at = large_pages(LARGE_BYTES);
    uint64_t start = ticks_now(), got;

    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
        die("SO_ZEROCOPY");
    for (uint32_t n = 0; n < bytes / message; n++) {
        while (n - done >= places)
            done = await_sent(fd, done);
        while (send(fd, at + n % places * message, message, MSG_ZEROCOPY) != (ssize_t)message) {
            if (errno != ENOBUFS) /* too many that it has to tell of */
                die("MSG_ZEROCOPY");
            done = await_sent(fd, done);
        }
        stop_between(n * message, (n + 1) * message, bytes);
    }
    got = end(fd);
    printf("bench: net_zero_%zu %lu %lu\n", message, (unsigned long)(ticks_now() - start), (unsigned long)got);
}

static void send_file(const char *address, const char *file, int32_t what, unsigned times)
{
    int in = open(file, O_RDONLY), fd = call(address, what);
    uint64_t start, got, sum = 0, done = 0, all;
    struct stat st;
    ssize_t n;

    if (in < 0 || fstat(in, &st))
        die(file);
    all = (uint64_t)st.st_size * times;
    start = ticks_now();
    for (; times; times--) {
        lseek(in, 0, SEEK_SET);
        for (off_t left = st.st_size; left; left -= n) {
            n = sendfile(fd, in, NULL, left > MIB ? MIB : (size_t)left);
            if (n <= 0)
                die("sendfile");
            stop_between(done, done + (uint64_t)n, all);
            done += (uint64_t)n;
        }
    }
    got = end(fd);
    if (what != CHECK) {
        printf("bench: net_file %lu %lu\n", (unsigned long)(ticks_now() - start), (unsigned long)got);
        return;
    }
    lseek(in, 0, SEEK_SET);
    while ((n = read(in, buffer, sizeof(buffer))) > 0)
        sum = add_up(sum, buffer, (size_t)n);
    printf("net: sums %s\n", sum == got ? "agree" : "differ");
}

/* Of a stream or of datagrams. */
static void echo(const char *address, int type, unsigned times, size_t bytes)
{
    int fd = type == SOCK_STREAM ? call(address, (int32_t)bytes) : connected(address, type);
    uint64_t start = 0;

    for (unsigned i = 0; i < times + 10; i++) {
        if (i == 10)
            start = ticks_now();
        stop_if(i == times / 2 || i == times / 2 + TRACED_ECHOES);
        transfer(fd, 1, buffer, bytes);
        transfer(fd, 0, buffer, bytes);
    }
    printf("bench: net_%s_%zu %lu %u\n", type == SOCK_STREAM ? "echo" : "datagram", bytes,
           (unsigned long)(ticks_now() - start), times);
}

static void big(const char *interface, uint32_t bytes)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
        struct { struct rtattr head; uint32_t bytes; } size[2];
    } set = {
        { .nlmsg_len = sizeof(set), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
        { .ifi_index = (int)if_nametoindex(interface) },
        { { { RTA_LENGTH(4), IFLA_GSO_MAX_SIZE }, bytes }, { { RTA_LENGTH(4), IFLA_GRO_MAX_SIZE }, bytes } },
    };
    struct { struct nlmsghdr head; struct nlmsgerr error; } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    if (send(fd, &set, sizeof(set), 0) != sizeof(set) || recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer))
        die("netlink");
    errno = -answer.error.error;
    if (errno)
        die(interface);
    printf("net: big %u\n", bytes);
}

static void ask(int fd, struct ifreq *r, void *data)
{
    r->ifr_data = data;
    if (ioctl(fd, SIOCETHTOOL, r))
        die("ethtool");
}

static void stats(const char *interface)
{
    static union {
        struct ethtool_drvinfo info;
        struct { struct ethtool_gstrings head; char name[256][ETH_GSTRING_LEN]; } names;
        struct { struct ethtool_stats head; uint64_t value[256]; } values;
    } info = { .info.cmd = ETHTOOL_GDRVINFO }, names = { .names.head = { .cmd = ETHTOOL_GSTRINGS,
                                                                          .string_set = ETH_SS_STATS } },
      values = { .values.head.cmd = ETHTOOL_GSTATS };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq r = { 0 };

    strncpy(r.ifr_name, interface, sizeof(r.ifr_name) - 1);
    ask(fd, &r, &info);
    if (info.info.n_stats > 256)
        exit(1);
    ask(fd, &r, &names);
    ask(fd, &r, &values);
    printf("%s on %s\n", info.info.driver, info.info.bus_info);
    for (unsigned i = 0; i < info.info.n_stats; i++)
        printf("%s: %lu\n", names.names.name[i], (unsigned long)values.values.value[i]);
}

/* What measures; false: there is no such word. */
static int measure(int argc, char **argv)
{
    const char *what = argv[1];
    unsigned long first, second;

    if (argc != 5)
        return 0;
    first = strtoul(argv[3], NULL, 10);
    second = strtoul(argv[4], NULL, 10);
    if (!strcmp(what, "send"))
        send_stream(argv[2], first * MIB, second);
    else if (!strcmp(what, "zero"))
        send_uncopied(argv[2], SINK, first * MIB, second);
    else if (!strcmp(what, "zero-skip"))
        send_uncopied(argv[2], SKIP, first * MIB, second);
    else if (!strcmp(what, "file"))
        send_file(argv[2], argv[3], SINK, (unsigned)second);
    else if (!strcmp(what, "skip"))
        send_file(argv[2], argv[3], SKIP, (unsigned)second);
    else if (!strcmp(what, "echo"))
        echo(argv[2], SOCK_STREAM, (unsigned)first, second);
    else if (!strcmp(what, "datagram"))
        echo(argv[2], SOCK_DGRAM, (unsigned)first, second);
    else
        return 0;
    return 1;
}

static int is_first(int *argc, char ***argv, const char *word)
{
    int is = *argc > 1 && !strcmp((*argv)[1], word);

    *argc -= is;
    *argv += is;
    return is;
}

int main(int argc, char **argv)
{
    const char *what;

    if (is_first(&argc, &argv, "trace"))
        traced = 1;
    if (is_first(&argc, &argv, "smc"))
        smc = 1;
    what = argc > 1 ? argv[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(what, "serve"))
        serve(fork() ? AF_INET : AF_INET6);
    else if (!strcmp(what, "check") && argc == 4)
        send_file(argv[2], argv[3], CHECK, 1);
    else if (!strcmp(what, "none"))
        printf("bench: net_none_000000 00000000 00000000\n"); /* as long as a stream's, for each character is an exit */
    else if (!strcmp(what, "big") && argc == 4)
        big(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    else if (!strcmp(what, "stats") && argc == 3)
        stats(argv[2]);
    else if (!measure(argc, argv))
        return 2;
    return 0;
}
