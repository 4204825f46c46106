// What is wrong with a command line of which the parser only says that a verb is missing.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace bdr::ctl {

// One line that names the first word which is no verb, and the verb that it resembles most; "" if
// all words are verbs or belong to one.
std::string WrongWord(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace bdr::ctl
