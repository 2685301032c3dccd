/** A person of the demonstration content. */
export type Person = {
  readonly username: string;
  readonly bio: string;
  /** The collections (content/*.md) that this person reads. */
  readonly reads: readonly string[];
};

/** The user whose login is printed. */
export const DEMO_USERNAME = "demo";

export const PEOPLE: readonly Person[] = [
  {
    username: DEMO_USERNAME,
    bio: "The account to look around with. Everything here was made by one command; change what you like.",
    reads: ["software", "cooking"],
  },
  // The official test suites of front ends look for this user.
  {
    username: "johndoe",
    bio: "The most average person in every example. I write about it.",
    reads: ["world", "making"],
  },
  {
    username: "ana-petrova",
    bio: "Databases by day, mushrooms by weekend. I delete more than I write.",
    reads: ["software", "world"],
  },
  { username: "jonas-weber", bio: "Keeps things running. Collects error messages.", reads: ["software", "cooking"] },
  { username: "kofi-mensah", bio: "Query plans, quietly. On call since 2019.", reads: ["software", "making"] },
  {
    username: "yuki-tanaka",
    bio: "Small programs for small drawers. Grandchild of a carpenter.",
    reads: ["software", "making"],
  },
  {
    username: "greta-lindholm",
    bio: "Twenty years of one garden. The garden has the last word.",
    reads: ["gardens", "cooking"],
  },
  { username: "tomas-novak", bio: "A field, a hedge, a walnut. In this order.", reads: ["gardens", "making"] },
  { username: "rosa-delgado", bio: "North-facing balcony, south-facing temper.", reads: ["gardens", "cooking"] },
  { username: "elif-kaya", bio: "By train if there is one, on foot if there is not.", reads: ["travel", "world"] },
  { username: "hugo-martin", bio: "Islands, rivers, huts. I make tables of ferries.", reads: ["travel", "gardens"] },
  { username: "nadia-haddad", bio: "Seventeen things in one bag. Three words in eleven languages.", reads: ["travel"] },
  { username: "luca-romano", bio: "Baker. I am asleep when you read this.", reads: ["cooking", "gardens"] },
  { username: "priya-sharma", bio: "Answers questions with soup.", reads: ["cooking", "travel"] },
  { username: "marek-zielinski", bio: "Cooks for forty, eats for two.", reads: ["cooking", "making"] },
  { username: "clara-jensen", bio: "Reads, writes letters, washes up.", reads: ["making", "travel"] },
  { username: "omar-farouk", bio: "Wood and books, which is the same thing twice.", reads: ["making", "software"] },
  {
    username: "ines-carvalho",
    bio: "Learning the guitar at fifty-one. Apologies to the dog.",
    reads: ["making", "world"],
  },
  {
    username: "chidi-okafor",
    bio: "I measure things. Some of them needed it.",
    reads: ["world", "cooking", "software"],
  },
  { username: "mei-chen", bio: "Night nurse. Rice, light, sleep.", reads: ["world", "cooking", "software"] },
  { username: "theo-papadakis", bio: "Teaches nine-year-olds, learns from them.", reads: ["world", "travel"] },
];
