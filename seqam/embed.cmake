# Writes ${OUTPUT}, a C++ header with the constant ${NAME}: the text of ${INPUT}.
# Run with cmake -DINPUT=... -DOUTPUT=... -DNAME=... -P.
file(READ ${INPUT} sql)
file(WRITE ${OUTPUT}
"// Made by seqam/embed.cmake.
#pragma once

namespace bdr::seqam {
inline constexpr char ${NAME}[] = R\"bdrsql(${sql})bdrsql\";
}  // namespace bdr::seqam
")
