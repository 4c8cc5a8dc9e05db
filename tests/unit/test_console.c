/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "core/console.c"

#define VMS 3

/* The line, the screen, the guests' UARTs and the monitor. */
static char serial[4096], screen[4096];
static size_t serial_length, screen_length;
static const char *typed;                      /* not read yet */
static char taken[VMS][512], to_monitor[256];
static unsigned room[VMS], prompts;
static struct vm_config configs[VMS] = { { .name = "alpha" }, { .name = "beta" }, { .name = "gamma" } };
static struct vm vms[VMS];
static unsigned vms_known = VMS;

static void append(char *to, size_t *length, const char *text, size_t n)
{
    assert_true(*length + n < 4096);
    memcpy(to + *length, text, n);
    to[*length += n] = 0;
}

void serial_write(const char *text, size_t n) { append(serial, &serial_length, text, n); }
void fbcon_write(const char *text, size_t n) { append(screen, &screen_length, text, n); }
int serial_read(void) { return typed && *typed ? (uint8_t)*typed++ : -1; }
unsigned vm_count(void) { return vms_known; }
struct vm *vm_at(unsigned index) { return &vms[index]; }
void monitor_poll(void) { }
void monitor_input(char c) { strncat(to_monitor, &c, 1); }

void monitor_prompt(void)
{
    prompts++;
    console_monitor(MONITOR_PROMPT, strlen(MONITOR_PROMPT));
}

bool vm_serial_in(struct vm *vm, uint8_t byte)
{
    size_t n = strlen(taken[vm->index]);

    if (n == room[vm->index])
        return false;
    taken[vm->index][n] = (char)byte;
    return true;
}

static void clear(void)
{
    serial_length = screen_length = 0;
    serial[0] = screen[0] = 0;
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VMS; i++) {
        vms[i] = (struct vm){ .config = &configs[i], .index = i };
        room[i] = sizeof(taken[i]) - 1;
    }
    vms_known = VMS;
    memset(&console, 0, sizeof(console));
    memset(&input, 0, sizeof(input));
    memset(taken, 0, sizeof(taken));
    memset(to_monitor, 0, sizeof(to_monitor));
    console.open_line = NOBODY;
    console.focus = CONSOLE_MONITOR;
    escape_keys = prompts = 0;
    typed = NULL;
    console_init(true, false, true);
    clear();
    return 0;
}

static void guest(unsigned vm, const char *text)
{
    while (*text)
        console_guest_out(vm, (uint8_t)*text++);
}

static void logs(const char *text) { console_log(text, strlen(text)); }
static void monitor(const char *text) { console_monitor(text, strlen(text)); }

static void keys(const char *text)
{
    typed = text;
    console_poll();
}

static void focus(int owner)
{
    console_set_focus(owner);
    clear();
}

static void test_lines_have_names(void **state)
{
    guest(0, "one\r\ntwo\n");
    assert_string_equal(serial, "[alpha] one\r\n[alpha] two\r\n");
    clear();
    console_init(true, false, false);
    guest(0, "three\n");
    assert_string_equal(serial, "three\r\n");
}

static void test_empty_lines(void **state)
{
    guest(0, "\n\r\n");
    assert_string_equal(serial, "[alpha]  \r\n[alpha]  \r\n");
}

/* Lines of guests without the input come whole, however their bytes are mixed. */
static void test_interleaving(void **state)
{
    guest(0, "al");
    guest(1, "be");
    guest(0, "pha's");
    guest(1, "ta's\n");
    assert_string_equal(serial, "[beta] beta's\r\n");
    guest(0, " line\n");
    assert_string_equal(serial, "[beta] beta's\r\n[alpha] alpha's line\r\n");
}

static void test_focus_prints_bytes(void **state)
{
    focus(1);
    guest(1, "login: ");
    assert_string_equal(serial, "[beta] login: ");
    guest(1, "r");
    assert_string_equal(serial, "[beta] login: r");
    guest(1, "oot\n");
    assert_string_equal(serial, "[beta] login: root\r\n");
}

/* A prompt that another's line interrupts stands there again after it. */
static void test_prompt_is_restored(void **state)
{
    focus(0);
    guest(0, "~ # ls");
    guest(1, "hello\n");
    assert_string_equal(serial, "[alpha] ~ # ls\r\n[beta] hello\r\n[alpha] ~ # ls");
    guest(0, " -l\n");
    assert_string_equal(serial, "[alpha] ~ # ls\r\n[beta] hello\r\n[alpha] ~ # ls -l\r\n");
    clear();
    guest(0, "$ ");
    logs("mirrorball: vm gamma: off\n");
    assert_string_equal(serial, "[alpha] $ \r\nmirrorball: vm gamma: off\r\n[alpha] $ ");
}

/* So does what was typed at the monitor; its bare prompt need not. */
static void test_typed_line_is_restored(void **state)
{
    monitor(MONITOR_PROMPT);
    monitor("s");
    monitor("tat");
    guest(1, "hello\n");
    assert_string_equal(serial, MONITOR_PROMPT "stat\r\n[beta] hello\r\n" MONITOR_PROMPT "stat");
    monitor("\n");
    assert_string_equal(serial, MONITOR_PROMPT "stat\r\n[beta] hello\r\n" MONITOR_PROMPT "stat\r\n");
    clear();
    monitor(MONITOR_PROMPT);
    guest(1, "hello\n");
    assert_string_equal(serial, MONITOR_PROMPT "\r\n[beta] hello\r\n");
}

static void test_log_breaks_a_line(void **state)
{
    monitor(MONITOR_PROMPT);
    logs("mirrorball: one\nmirrorball: two\n");
    assert_string_equal(serial, MONITOR_PROMPT "\r\nmirrorball: one\r\nmirrorball: two\r\n");
}

/* A line that never ends is cut; nothing of it is lost. */
static void test_long_lines(void **state)
{
    char text[LINE_MAX + 101] = "";

    memset(text, 'x', LINE_MAX + 100);
    guest(0, text);
    guest(0, "\n");
    assert_int_equal(serial_length, LINE_MAX + 100 + 2 * strlen("[alpha] \r\n"));
    assert_memory_equal(serial + strlen("[alpha] ") + LINE_MAX - 1, "\r\n[alpha] xx", 12);
}

/* A carriage return is a newline's, or goes back to the line's start; none counts towards another guest's. */
static void test_carriage_returns(void **state)
{
    guest(0, "10%\r20%\r\r\n");
    assert_string_equal(serial, "[alpha] 10%\r20%\r\n");
    clear();
    focus(0);
    guest(0, "a\r");
    assert_string_equal(serial, "[alpha] a");
    guest(1, "x\n");
    guest(0, "b\n");
    assert_string_equal(serial, "[alpha] a\r\n[beta] x\r\n[alpha] a\rb\r\n");
}

/* Carriage returns at each length up to the longest line: no byte is written behind its end. */
static void test_carriage_returns_at_the_end(void **state)
{
    for (unsigned n = LINE_MAX - 4; n < LINE_MAX + 4; n++) {
        clear();
        for (unsigned i = 0; i < n; i++)
            guest(0, "x");
        guest(0, "\ry\rz\n");
        assert_true(console.lines[0].length == 0);
        assert_non_null(strstr(serial, "z\r\n"));
    }
}

static void test_sinks(void **state)
{
    console_init(true, true, true);
    guest(0, "both\n");
    assert_string_equal(serial, screen);
    clear();
    console_init(false, true, true);
    guest(0, "screen\n");
    assert_string_equal(serial, "");
    assert_string_equal(screen, "[alpha] screen\r\n");
}

#define SWITCH "\1\1\1"

static void test_focus_goes_round(void **state)
{
    for (int i = 0; i < VMS; i++) {
        keys(SWITCH);
        assert_int_equal(console_focus(), i);
        assert_non_null(strstr(serial, configs[i].name));
        clear();
    }
    keys(SWITCH);
    assert_int_equal(console_focus(), CONSOLE_MONITOR);
    assert_non_null(strstr(serial, "the monitor"));
    assert_int_equal(prompts, 1);
    vms_known = 0;
    keys(SWITCH);
    assert_int_equal(console_focus(), CONSOLE_MONITOR);
}

/* Fewer than three are a guest's own: its screen(1) or its shell uses them. */
static void test_fewer_keys_are_the_guests(void **state)
{
    focus(0);
    keys("a\1b\1\1c");
    assert_string_equal(taken[0], "a\1b\1\1c");
    keys("\1");                                /* in two polls */
    keys("\1x");
    assert_string_equal(taken[0], "a\1b\1\1c\1\1x");
    assert_int_equal(console_focus(), 0);
    keys("\1\1\1\1y");                         /* the fourth is beta's */
    assert_int_equal(console_focus(), 1);
    assert_string_equal(taken[1], "\1y");
}

static void test_input_goes_to_the_focus(void **state)
{
    keys("vm\r");
    assert_string_equal(to_monitor, "vm\r");
    keys(SWITCH "ls\r" SWITCH "id\r");
    assert_string_equal(taken[0], "ls\r");
    assert_string_equal(taken[1], "id\r");
    assert_string_equal(taken[2], "");
    assert_string_equal(to_monitor, "vm\r");
}

/* A UART that is full gets the rest later, in order; what nobody could hold is lost. */
static void test_slow_guest(void **state)
{
    char text[INPUT_MAX + 50] = "";

    focus(0);
    room[0] = 3;
    keys("hello");
    assert_string_equal(taken[0], "hel");
    keys(" you");
    assert_string_equal(taken[0], "hel");
    room[0] = 100;
    console_poll();
    assert_string_equal(taken[0], "hello you");
    room[0] = 9;
    memset(text, 'x', sizeof(text) - 1);
    keys(text);
    room[0] = sizeof(taken[0]) - 1;
    console_poll();
    assert_int_equal(strlen(taken[0]), 9 + INPUT_MAX);
    console_poll();
    assert_int_equal(strlen(taken[0]), 9 + INPUT_MAX);
}

/* Keys that wait for one guest are not typed into another. */
static void test_focus_drops_waiting_keys(void **state)
{
    focus(0);
    room[0] = 0;
    keys("rm -rf");
    keys(SWITCH "x");
    assert_string_equal(taken[1], "x");
    room[0] = 100;
    console_poll();
    assert_string_equal(taken[0], "");
}

/* What a guest had on its line before it got the input is shown when it gets it. */
static void test_focus_shows_the_line(void **state)
{
    guest(1, "beta login: ");
    assert_string_equal(serial, "");
    console_set_focus(1);
    assert_non_null(strstr(serial, "\r\n[beta] beta login: "));
    assert_null(strstr(serial, "login: \r\n"));
    clear();
    console_set_focus(0);
    assert_true(strncmp(serial, "\r\n", 2) == 0); /* the prompt's line ends there */
    clear();
    guest(1, "\n");
    assert_string_equal(serial, "[beta] beta login: \r\n");
}

/* The monitor's prompt stands there once, however often the input was elsewhere meanwhile. */
static void test_one_prompt(void **state)
{
    monitor(MONITOR_PROMPT);
    console_set_focus(0);
    console_set_focus(CONSOLE_MONITOR);
    console_set_focus(1);
    clear();
    console_set_focus(CONSOLE_MONITOR);
    assert_null(strstr(serial, MONITOR_PROMPT MONITOR_PROMPT));
    guest(0, "first\n");
    clear();
    monitor("v");
    monitor("m");
    assert_string_equal(serial, MONITOR_PROMPT "vm"); /* not shown behind each line, but when it is typed at */
    clear();
    guest(0, "hello\n");
    assert_string_equal(serial, "\r\n[alpha] hello\r\n" MONITOR_PROMPT "vm");
}

static void test_no_serial_line(void **state)
{
    console_init(false, true, true);
    keys("x");
    assert_string_equal(to_monitor, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_lines_have_names, setup),
        cmocka_unit_test_setup(test_empty_lines, setup),
        cmocka_unit_test_setup(test_interleaving, setup),
        cmocka_unit_test_setup(test_focus_prints_bytes, setup),
        cmocka_unit_test_setup(test_prompt_is_restored, setup),
        cmocka_unit_test_setup(test_typed_line_is_restored, setup),
        cmocka_unit_test_setup(test_log_breaks_a_line, setup),
        cmocka_unit_test_setup(test_long_lines, setup),
        cmocka_unit_test_setup(test_carriage_returns, setup),
        cmocka_unit_test_setup(test_carriage_returns_at_the_end, setup),
        cmocka_unit_test_setup(test_sinks, setup),
        cmocka_unit_test_setup(test_focus_goes_round, setup),
        cmocka_unit_test_setup(test_fewer_keys_are_the_guests, setup),
        cmocka_unit_test_setup(test_input_goes_to_the_focus, setup),
        cmocka_unit_test_setup(test_slow_guest, setup),
        cmocka_unit_test_setup(test_focus_drops_waiting_keys, setup),
        cmocka_unit_test_setup(test_focus_shows_the_line, setup),
        cmocka_unit_test_setup(test_one_prompt, setup),
        cmocka_unit_test_setup(test_no_serial_line, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
